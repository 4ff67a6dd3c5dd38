"""Making calls, and recording each: the one way by which the stories of the load reach the services."""

from __future__ import annotations

import asyncio
import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vibework.client._retrying import NO_EFFECT
from vibework.client.aio import Notifications, Users
from vibework.client.errors import VibeworkError

from chassis.contract import etags
from tests.harness.history.record import OK, Call, Change, Creation, Fields, History, Operation, Removal

# Reasons after which nobody knows whether a call took effect (docs/retries.md), and what gRPC says by itself.
UNCLEAR: Final = frozenset({"", "DATABASE_UNAVAILABLE", "SHUTTING_DOWN", "DEADLINE_EXCEEDED", "INTERNAL"})
USERS: Final = frozenset({"UserService", "SessionService", "AccountService", "VerificationService"})
# Seconds that a call may take, its repetitions included: below what a fault lasts that stops a process.
CALL_SECONDS: Final = 8.0
# How often a call is made again with its request_id, whatever the client has done, until its outcome is known.
AGAIN: Final = 2
_WORDS: Final = re.compile(r"(?<!^)(?=[A-Z])")

# What an answer holds of what was made: the ids, or the nonces.
Told = Callable[[Any], Iterable[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended, and when it began and ended; ``message`` None: with an error."""

    message: Any
    reason: str
    invoked: float
    ended: float
    unclear: bool = False

    @property
    def good(self) -> bool:
        """Say whether it was carried out."""
        return self.message is not None


@dataclass
class Pace:
    """Holds calls up: so many a second, and none while it is closed."""

    per_second: float
    in_flight: int = 0
    _open: asyncio.Event = field(default_factory=asyncio.Event)
    _next: float = 0.0

    async def turn(self) -> None:
        """Wait until one more call may be made."""
        while True:
            await self._open.wait()
            now = time.monotonic()
            at = self._next = max(self._next + 1 / self.per_second, now)
            await asyncio.sleep(at - now)
            if self._open.is_set():
                return

    def open(self) -> None:
        """Let calls be made."""
        self._open.set()

    def close(self) -> None:
        """Let none be made from now on."""
        self._open.clear()


@dataclass(frozen=True)
class Clients:
    """Clients of both services: ``patient`` ones repeat calls as docs/retries.md says, the others never."""

    users: Users
    notifications: Notifications
    patient: bool

    def method(self, rpc: str) -> Any:
        """Return the method of an RPC, ``Service/Method``."""
        service, _, method = rpc.partition("/")
        return getattr(self.users if service in USERS else self.notifications, _WORDS.sub("_", method).lower())


@dataclass
class Caller:
    """Makes calls by clients of both kinds in turn, and records them in a history."""

    history: History
    clients: tuple[Clients, ...]
    pace: Pace
    # Begins every nonce, so that what was made under this history is known from all else.
    name: str
    # Streams that are told of changes to users, and of those to a user's notifications.
    user_streams: tuple[str, ...] = ()
    feed_streams: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)
    numbers: int = 0

    def nonce(self) -> str:
        """Return a text that no other call has: small letters and digits."""
        self.numbers += 1
        return f"{self.name}n{self.numbers}"

    async def call(self, rpc: str, **given: Any) -> Answer:
        """Make a call once, or as often as a patient client does."""
        await self.pace.turn()
        clients = self.chance.choice(self.clients)
        self.pace.in_flight += 1
        invoked = time.monotonic()
        message: Any = None
        error: VibeworkError | None = None
        try:
            message = await clients.method(rpc)(timeout=CALL_SECONDS, **given)
        except VibeworkError as failure:
            error = failure
        finally:
            self.pace.in_flight -= 1
        ended = time.monotonic()
        code, reason = (error.code.name, error.reason) if error else (OK, "")
        words = error.message if error and not reason else ""
        self.history.calls.append(Call(rpc, invoked, ended, code, reason, clients.patient, words))
        # Of several attempts the last may have had no effect after one that had.
        unclear = error is not None and (reason in UNCLEAR or (clients.patient and reason in NO_EFFECT))
        return Answer(message, reason, invoked, ended, unclear)

    async def create(
        self, kind: str, rpc: str, nonce: str, ids: Told, echoed: Told, *, rows: int = 1, **given: Any
    ) -> Answer:
        """Make something, sometimes by two calls with one request_id at once; record what was answered."""
        request_id = str(uuid.uuid4())
        given["request_id"] = request_id

        async def once() -> Answer:
            answer = await self._until_clear(rpc, given)
            made = tuple(ids(answer.message)) if answer.good else None
            told = tuple(echoed(answer.message)) if answer.good else ()
            if answer.good or answer.unclear:
                self.history.creations.append(Creation(kind, nonce, request_id, rows, made, told))
            return answer

        answers = await asyncio.gather(*(once() for _ in range(2 if self.chance.random() < 0.2 else 1)))
        return next((each for each in answers if each.good), answers[0])

    async def _until_clear(self, rpc: str, given: dict[str, Any]) -> Answer:
        answer = first = await self.call(rpc, **given)
        for _ in range(AGAIN):
            if not answer.unclear:
                break
            answer = await self.call(rpc, **given)
        # It is unclear still where a repetition did nothing after a first call that may have.
        unclear = not answer.good and (first.unclear or answer.unclear)
        return Answer(answer.message, answer.reason, first.invoked, answer.ended, unclear)

    async def remove(self, kind: str, id_: str, rpc: str, **given: Any) -> Answer:
        """Remove something, and record that it must be gone, or may be."""
        answer = await self.call(rpc, **given)
        # Of several attempts of a patient client the first may have removed what the last did not find.
        self.history.removals.append(Removal(kind, id_, known=answer.good))
        return answer

    def operation(
        self, kind: str, key: str, name: str, answer: Answer, told: Fields | None = None, /, **given: str
    ) -> None:
        """Record an operation on an object; ``told`` None: nobody knows whether it took effect."""
        if told is None:
            self.history.operations.append(Operation(kind, key, name, given, None, answer.invoked))
        else:
            self.history.operations.append(Operation(kind, key, name, given, told, answer.invoked, answer.ended))

    def user_changed(self, kind: str, user_id: str, etag: str = "") -> None:
        """Record a change that watchers of users must be told."""
        self.history.changes.append(Change(kind, user_id, revision_of(etag), self.user_streams))

    def feed_changed(self, kind: str, user_id: str, id_: str, etag: str = "") -> None:
        """Record a change that watchers of a user's notifications must be told, where there are such."""
        if user_id in self.feed_streams:
            self.history.changes.append(Change(kind, id_, revision_of(etag), self.feed_streams[user_id]))


def revision_of(etag: str) -> int:
    """Return the revision that an etag begins with; 0 for none."""
    revision = etag.strip('"').partition(".")[0]
    return int(revision) if revision and etags.read(etag, etag.count(".") + 1) else 0
