"""Stories of single objects, on which some callers work at once: what has an etag, sessions, and secrets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from vibework.notifications.v1 import (
    NOTIFICATION_TYPE_IN_APP,
    Notification,
    NotificationContent,
    Preferences,
)
from vibework.users.v1 import (
    VERIFICATION_DELIVERY_RETURN_CODE,
    VERIFICATION_KIND_TOKEN,
    VERIFICATION_PURPOSE_EMAIL_VERIFICATION,
    ClientContext,
    User,
    VerificationSecret,
)

from tests.harness.history.models import INVALID, MISMATCH, MISSING, OK, REGISTER, SESSION, VERIFICATION
from tests.harness.history.record import Fields
from tests.reliability.load.caller import Answer, Caller

# Who works on one object at once, and how often each.
AT_ONCE: Final = 3
ROUNDS: Final = 5
# After these no more is done with a session: well before a replaced token's grace (30 s) ends.
SESSION_SECONDS: Final = 10.0
_REFUSALS: Final = {"ETAG_MISMATCH": MISMATCH, "USER_NOT_FOUND": MISSING, "NOTIFICATION_NOT_FOUND": MISSING}


def image_of(nonce: str) -> str:
    """Return the picture by which a user is known: it stays when name and address change."""
    return f"https://example.com/{nonce}"


def nonce_of(image: str) -> str:
    """Return the nonce in a picture."""
    return image.rpartition("/")[2]


async def make_user(caller: Caller, **more: Any) -> tuple[User | None, Answer]:
    """Create a user; return it, or None."""
    nonce = caller.nonce()
    answer = await caller.create(
        "users",
        "UserService/CreateUser",
        nonce,
        lambda made: [made.user.id],
        lambda made: [nonce_of(made.user.image), made.user.name],
        email=f"{nonce}@example.com",
        name=nonce,
        image=image_of(nonce),
        **more,
    )
    if not answer.good:
        return None, answer
    user: User = answer.message.user
    caller.user_changed("created", user.id, user.etag)
    return user, answer


async def make_notification(caller: Caller, user_id: str) -> tuple[Notification | None, Answer]:
    """Create a notification; return it, or None."""
    nonce = caller.nonce()
    answer = await caller.create(
        "notifications",
        "NotificationService/CreateNotification",
        nonce,
        lambda made: [made.notification.id],
        lambda made: [made.notification.thread_key, made.notification.title],
        user_id=user_id,
        content=content_of(nonce),
    )
    if not answer.good:
        return None, answer
    notification: Notification = answer.message.notification
    caller.feed_changed("created", user_id, notification.id, notification.etag)
    return notification, answer


def content_of(nonce: str) -> NotificationContent:
    """Return the content of a notification; it is known by the key of its thread, which never changes."""
    return NotificationContent(title=nonce, message="message", type=NOTIFICATION_TYPE_IN_APP, thread_key=nonce)


@dataclass
class Registered:
    """An object with an etag, on which several read and write at once."""

    caller: Caller
    key: str
    etag: str
    read: Callable[[], Awaitable[tuple[Answer, Fields]]]
    write: Callable[[str, str], Awaitable[tuple[Answer, Fields]]]

    async def work(self) -> None:
        """Read and write, with the etag that was read last, or one of before."""
        for _ in range(ROUNDS):
            if self.caller.chance.random() < 0.5:
                answer, told = await self.read()
                self.note("read", answer, told)
            else:
                value, etag = self.caller.nonce(), self.etag
                answer, told = await self.write(value, etag)
                self.note("write", answer, told, value=value, etag=etag)

    def note(self, name: str, answer: Answer, told: Fields, **given: str) -> None:
        """Record a call on it, and what it is like now as far as the answer tells."""
        if answer.good:
            self.etag = told["etag"]
        self._recorded(name, answer, {"outcome": OK, **told} if answer.good else None, given)

    def _recorded(self, name: str, answer: Answer, told: Fields | None, given: Fields) -> None:
        if told is None and answer.reason in _REFUSALS:
            told = {"outcome": _REFUSALS[answer.reason]}
        if told is not None or answer.unclear:
            self.caller.operation(REGISTER, self.key, name, answer, told, **given)

    async def at_once(self) -> None:
        """Let several work on it."""
        await asyncio.gather(*(self.work() for _ in range(AT_ONCE)))


async def a_user_changes(caller: Caller) -> None:
    """Several rename a user at once, each with an etag; in the end the user is deleted with one."""
    user, made = await make_user(caller)
    if user is None:
        return
    id_ = user.id

    async def read() -> tuple[Answer, Fields]:
        answer = await caller.call("UserService/GetUser", id=id_)
        return answer, _state(answer.message.user.name, answer.message.user.etag) if answer.good else {}

    async def write(value: str, etag: str) -> tuple[Answer, Fields]:
        changed = User(id=id_, name=value, etag=etag)
        answer = await caller.call("UserService/UpdateUser", user=changed, update_mask=["name"])
        if not answer.good:
            return answer, {}
        caller.user_changed("changed", id_, answer.message.user.etag)
        return answer, _state(answer.message.user.name, answer.message.user.etag)

    caller.operation(REGISTER, id_, "create", made, {"outcome": OK, "etag": user.etag}, value=user.name)
    register = Registered(caller, id_, user.etag, read, write)
    await register.at_once()
    answer = await caller.remove("users", id_, "UserService/DeleteUser", id=id_, etag=register.etag)
    if answer.good:
        caller.user_changed("deleted", id_)
    _note_deletion(caller, id_, register.etag, answer)
    answer, told = await read()
    register.note("read", answer, told)


async def a_notification_changes(caller: Caller) -> None:
    """Several change a notification at once, each with an etag; in the end it is deleted with one."""
    user_id = caller.chance.choice(sorted(caller.feed_streams))
    notification, made = await make_notification(caller, user_id)
    if notification is None:
        return
    id_ = notification.id

    async def read() -> tuple[Answer, Fields]:
        answer = await caller.call("NotificationService/GetNotification", id=id_)
        found = answer.message.notification if answer.good else Notification()
        return answer, _state(found.title, found.etag)

    async def write(value: str, etag: str) -> tuple[Answer, Fields]:
        changed = Notification(id=id_, title=value, etag=etag)
        answer = await caller.call(
            "NotificationService/UpdateNotification", notification=changed, update_mask=["title"]
        )
        if not answer.good:
            return answer, {}
        found = answer.message.notification
        caller.feed_changed("updated", user_id, id_, found.etag)
        return answer, _state(found.title, found.etag)

    told = {"outcome": OK, "etag": notification.etag}
    caller.operation(REGISTER, id_, "create", made, told, value=notification.title)
    register = Registered(caller, id_, notification.etag, read, write)
    await register.at_once()
    if caller.chance.random() < 0.5:
        rpc = "NotificationService/DeleteNotification"
        answer = await caller.remove("notifications", id_, rpc, id=id_, etag=register.etag)
        if answer.good:
            caller.feed_changed("deleted", user_id, id_)
        _note_deletion(caller, id_, register.etag, answer)
    answer, state = await read()
    register.note("read", answer, state)


async def preferences_change(caller: Caller) -> None:
    """Several change somebody's preferences at once, each with an etag."""
    user, _ = await make_user(caller)
    if user is None:
        return
    user_id = user.id

    async def read() -> tuple[Answer, Fields]:
        answer = await caller.call("PreferenceService/GetPreferences", user_id=user_id)
        found = answer.message.preferences if answer.good else Preferences()
        return answer, _state(_nonce_in(found.locale), found.etag)

    async def write(value: str, etag: str) -> tuple[Answer, Fields]:
        changed = Preferences(user_id=user_id, locale=f"en-x-{value[-8:]}", etag=etag)
        answer = await caller.call("PreferenceService/UpdatePreferences", preferences=changed, update_mask=["locale"])
        found = answer.message.preferences if answer.good else Preferences()
        return answer, _state(_nonce_in(found.locale), found.etag)

    first, state = await read()
    if not first.good:
        return
    caller.operation(REGISTER, user_id, "create", first, {"outcome": OK, "etag": state["etag"]}, value=state["value"])
    await _Preferred(caller, user_id, state["etag"], read, write).at_once()


class _Preferred(Registered):
    """Preferences, whose language holds the end of a nonce."""

    def _recorded(self, name: str, answer: Answer, told: Fields | None, given: Fields) -> None:
        short = {**given, "value": given["value"][-8:]} if "value" in given else given
        super()._recorded(name, answer, told, short)


def _nonce_in(locale: str) -> str:
    return locale.rpartition("-")[2]


def _state(value: str, etag: str) -> Fields:
    return {"value": value, "etag": etag}


def _note_deletion(caller: Caller, key: str, etag: str, answer: Answer) -> None:
    told = {"outcome": OK} if answer.good else None
    # What is missing a patient caller may have deleted itself, by an attempt of which nobody heard.
    if answer.reason == "ETAG_MISMATCH":
        told = {"outcome": MISMATCH}
    caller.operation(REGISTER, key, "delete", answer, told, etag=etag)


@dataclass
class Sessions:
    """A session, and the tokens of it that are known."""

    caller: Caller
    key: str
    tokens: list[str]
    until: float = field(default_factory=lambda: time.monotonic() + SESSION_SECONDS)

    async def work(self) -> None:
        """Validate it and refresh it, by any of its tokens."""
        for _ in range(ROUNDS):
            if time.monotonic() > self.until:
                return
            token = self.caller.chance.choice(self.tokens[-2:])
            await (self.validate(token) if self.caller.chance.random() < 0.5 else self.refresh(token))

    async def validate(self, token: str) -> Answer:
        """Validate it."""
        answer = await self.caller.call("SessionService/ValidateSession", session_token=token)
        if answer.good or answer.reason == "SESSION_INVALID":
            told = {"outcome": OK if answer.good else INVALID}
            self.caller.operation(SESSION, self.key, "validate", answer, told, token=token)
        return answer

    async def refresh(self, token: str) -> None:
        """Refresh it, and mostly replace its token."""
        rotate = self.caller.chance.random() < 0.8
        answer = await self.caller.call("SessionService/RefreshSession", session_token=token, rotate_token=rotate)
        told = None
        if answer.good:
            new = answer.message.session_token
            self.tokens += [new] if new else []
            told = {"outcome": OK, "token": new}
        elif answer.reason == "SESSION_INVALID":
            told = {"outcome": INVALID}
        if told is not None or answer.unclear:
            given = {"token": token, "rotate": "yes" if rotate else "no"}
            self.caller.operation(SESSION, self.key, "refresh", answer, told, **given)

    async def end(self, rpc: str, **given: Any) -> None:
        """End it."""
        answer = await self.caller.call(rpc, **given)
        if answer.good or answer.unclear:
            self.caller.operation(SESSION, self.key, "revoke", answer, {"outcome": OK} if answer.good else None)


async def make_session(caller: Caller, user_id: str) -> Sessions | None:
    """Create a session of a user; return it, or None."""
    nonce = caller.nonce()
    answer = await caller.create(
        "sessions",
        "SessionService/CreateSession",
        nonce,
        lambda made: [made.session.id],
        lambda made: [made.session.user_agent],
        user_id=user_id,
        client=ClientContext(user_agent=nonce),
    )
    if not answer.good:
        return None
    made = Sessions(caller, answer.message.session.id, [answer.message.session_token])
    caller.operation(SESSION, made.key, "create", answer, {"outcome": OK, "token": made.tokens[0]})
    return made


async def a_session_is_used(caller: Caller) -> None:
    """Several use a session at once and replace its token, while somebody ends it."""
    user, _ = await make_user(caller)
    session = await make_session(caller, user.id) if user else None
    if user is None or session is None:
        return
    ways: list[tuple[str, dict[str, Any]]] = [
        ("SessionService/RevokeSession", {"session_id": session.key}),
        ("SessionService/RevokeSession", {"session_token": session.tokens[0]}),
        ("SessionService/RevokeAllSessions", {"user_id": user.id}),
    ]
    rpc, given = caller.chance.choice(ways)

    async def end() -> None:
        await session.work()
        await session.end(rpc, **given)
        await session.validate(session.tokens[-1])

    await asyncio.gather(session.work(), session.work(), end())


async def others_are_signed_out(caller: Caller) -> None:
    """All sessions of a user but one are ended by it."""
    user, _ = await make_user(caller)
    if user is None:
        return
    kept, other = await make_session(caller, user.id), await make_session(caller, user.id)
    if kept is None or other is None:
        return
    await other.end("SessionService/RevokeOtherSessions", session_token=kept.tokens[0])
    await kept.validate(kept.tokens[0])
    await other.validate(other.tokens[0])


@dataclass(frozen=True)
class Secret:
    """A secret that can be used once, by any of several who try at once."""

    caller: Caller
    key: str
    token: str

    async def used_by(self, rpc: str, **given: Any) -> Answer:
        """Use it in one call."""
        secret = VerificationSecret(token=self.token)
        answer = await self.caller.call(rpc, secret=secret, **given)
        if answer.good or answer.reason == "VERIFICATION_INVALID":
            told = {"outcome": OK if answer.good else INVALID}
            self.caller.operation(VERIFICATION, self.key, "consume", answer, told)
        elif answer.unclear:
            self.caller.operation(VERIFICATION, self.key, "consume", answer)
        return answer

    async def used_at_once(self, rpc: str, times: int = 2, **given: Any) -> Answer:
        """Use it in several calls at once; return how one of them ended, a good one if there is one."""
        answers = await asyncio.gather(*(self.used_by(rpc, **given) for _ in range(times)))
        return next((each for each in answers if each.good), answers[0])


async def make_secret(
    caller: Caller, identifier: str, purpose: Any = VERIFICATION_PURPOSE_EMAIL_VERIFICATION, **given: Any
) -> Secret | None:
    """Create a secret that is returned; None: it was not."""
    answer = await caller.call(
        "VerificationService/CreateVerification",
        purpose=purpose,
        identifier=identifier,
        kind=VERIFICATION_KIND_TOKEN,
        delivery=VERIFICATION_DELIVERY_RETURN_CODE,
        **given,
    )
    if not answer.good:
        return None
    key = answer.message.verification.id
    caller.operation(VERIFICATION, key, "create", answer, {"outcome": OK})
    return Secret(caller, key, answer.message.secret)


async def a_secret_is_consumed(caller: Caller) -> None:
    """Several consume a secret at once, and one later."""
    secret = await make_secret(caller, f"{caller.nonce()}@example.com")
    if secret is not None:
        purpose = VERIFICATION_PURPOSE_EMAIL_VERIFICATION
        await secret.used_at_once("VerificationService/ConsumeVerification", 3, purpose=purpose)
        await secret.used_by("VerificationService/ConsumeVerification", purpose=purpose)
