"""Sessions against a plain model of their rules, in whatever order calls and time come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import count
from uuid import uuid4

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_service_pb2

from chassis.contract.timestamps import from_proto
from tests.harness.clocks import FrozenClock
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.users import BlockingStubs, reason, users_service

DAY = timedelta(days=1)
# Thirty seconds, and five that clocks may differ by.
GRACE = timedelta(seconds=35)
# The borders of every rule, from both sides.
STEPS = [
    timedelta(microseconds=1),
    timedelta(seconds=1),
    GRACE,
    timedelta(hours=1),
    DAY - timedelta(seconds=1),
    DAY,
    6 * DAY,
    7 * DAY,
]

emails = count()


@dataclass
class Known:
    """A session as the model has it."""

    id: str
    user: str
    token: str
    created: datetime
    expires: datetime
    cap: datetime
    extended: datetime
    seen: datetime
    brief: bool
    # When it was ended, and why.
    revoked: tuple[datetime, str] | None = None
    replaced: dict[str, datetime] = field(default_factory=dict)

    def lives(self, now: datetime) -> bool:
        """Whether it has not ended."""
        return self.revoked is None and now < self.expires

    def end(self, now: datetime, why: str) -> bool:
        """End it if it lives; return whether it did."""
        if not self.lives(now):
            return False
        self.revoked = (now, why)
        return True

    def ended(self, now: datetime) -> tuple[datetime, str] | None:
        """When it ended, and why; None while it lives."""
        return self.revoked or ((self.expires, "EXPIRED") if now >= self.expires else None)

    def due(self, now: datetime) -> bool:
        """Whether a refresh would move its end."""
        return not self.brief and self.expires < self.cap and now >= self.extended + DAY

    def shown(self, now: datetime) -> tuple[object, ...]:
        """What a caller sees of it."""
        fresh = now < self.created + DAY
        return (self.id, self.user, self.created, self.expires, self.cap, self.seen, self.brief, fresh)


def seen(session: pb.Session) -> tuple[object, ...]:
    """Return what ``Known.shown`` returns, of a session that the server showed."""
    times = (session.created_at, session.expires_at, session.absolute_expires_at, session.last_seen_at)
    return (session.id, session.user_id, *map(from_proto, times), session.do_not_remember, session.fresh)


def ended(session: pb.Session) -> tuple[datetime, str] | None:
    """Return what ``Known.ended`` returns, of a session that the server showed."""
    why = pb.SessionEndReason.Name(session.end_reason).removeprefix("SESSION_END_REASON_")
    if not session.HasField("ended_at"):
        assert why == "UNSPECIFIED"
        return None
    return from_proto(session.ended_at), why


class SessionRules(RuleBasedStateMachine):
    """Calls the served SessionService and the model side by side."""

    tokens = Bundle("tokens")

    def __init__(self, clock: FrozenClock, stubs: BlockingStubs) -> None:
        super().__init__()
        self.clock, self.rpc, self.stubs = clock, stubs.sessions, stubs
        # Each example lets months pass; together they would pass what a TIMESTAMP holds.
        self.clock.reset()
        self.known: dict[str, Known] = {}
        self.users: list[str] = []
        self.disabled: set[str] = set()
        # Refreshes with a request_id, and the first answer to each.
        self.answered: list[tuple[pb.RefreshSessionRequest, pb.RefreshSessionResponse]] = []

    @property
    def now(self) -> datetime:
        """The time of server and model."""
        return self.clock()

    @initialize()
    def two_users(self) -> None:
        """Begin with two users, so that one can be mistaken for the other."""
        for _ in range(2):
            request = user_service_pb2.CreateUserRequest(email=f"model{next(emails)}@example.com")
            self.users.append(self.stubs.users.CreateUser(request).user.id)

    @rule(target=tokens, user=st.integers(0, 1), brief=st.booleans())
    def create(self, user: int, brief: bool) -> MultipleResults[str]:
        """A new session has the lifetime it was asked for; a disabled user gets none."""
        return self._create(user, 1, brief=brief)

    def _create(self, user: int, number: int, *, brief: bool) -> MultipleResults[str]:
        request = pb.CreateSessionRequest(user_id=self.users[user], do_not_remember=brief)
        if self.users[user] in self.disabled:
            self._refused(
                partial(self.rpc.CreateSession, request), grpc.StatusCode.FAILED_PRECONDITION, "USER_DISABLED"
            )
            return multiple()
        return multiple(*(self._created(request) for _ in range(number)))

    def _created(self, request: pb.CreateSessionRequest) -> str:
        user, brief = request.user_id, request.do_not_remember
        made = self.rpc.CreateSession(request)
        lives, cap = (DAY, DAY) if brief else (7 * DAY, 30 * DAY)
        now = self.now
        known = Known(made.session.id, user, made.session_token, now, now + lives, now + cap, now, now, brief)
        assert seen(made.session) == known.shown(now)
        self.known[known.id] = known
        return made.session_token

    @rule(target=tokens, user=st.integers(0, 1))
    def create_several(self, user: int) -> MultipleResults[str]:
        """Sessions of one instant are told apart, and listed each once."""
        return self._create(user, 3, brief=False)

    @rule(user=st.integers(0, 1), reason=st.sampled_from(["", "spam"]))
    def disable(self, user: int, reason: str) -> None:
        """Disabling ends what lives of one user, and nothing of the other's; again it finds nothing to end."""
        user_id = self.users[user]
        ended = [each.end(self.now, "USER_DISABLED") for each in self._live(user_id)]
        answer = self.stubs.users.DisableUser(user_service_pb2.DisableUserRequest(id=user_id, reason=reason))
        assert (answer.user.disabled_reason, answer.revoked_sessions) == (reason, len(ended))
        self.disabled.add(user_id)

    @rule(user=st.integers(0, 1))
    def enable(self, user: int) -> None:
        """Enabling lets new sessions begin, and revives none."""
        self.stubs.users.EnableUser(user_service_pb2.EnableUserRequest(id=self.users[user]))
        self.disabled.discard(self.users[user])

    @rule(by=st.sampled_from(STEPS))
    def pass_time(self, by: timedelta) -> None:
        """Let time pass."""
        self.clock.advance(by)

    @rule(token=tokens, with_user=st.booleans())
    def validate(self, token: str, with_user: bool) -> None:
        """A token is good while its session lives, and for 30 seconds after its replacement; never later."""
        request = pb.ValidateSessionRequest(session_token=token, include_user=with_user)
        known = self._admitted(token)
        if known is None:
            self._refused(partial(self.rpc.ValidateSession, request))
            return
        answer = self.rpc.ValidateSession(request)
        assert seen(answer.session) == known.shown(self.now)
        assert answer.refresh_due == known.due(self.now)
        assert answer.user.id == (known.user if with_user else "")

    @rule(target=tokens, token=tokens, rotate=st.booleans(), keyed=st.booleans())
    def refresh(self, token: str, rotate: bool, keyed: bool) -> str:
        """A refresh moves the end when it is due, up to the cap, and replaces the current token only."""
        request = pb.RefreshSessionRequest(session_token=token, rotate_token=rotate)
        request.request_id = str(uuid4()) if keyed else ""
        known, now = self._admitted(token), self.now
        if known is None:
            self._refused(partial(self.rpc.RefreshSession, request))
            return token
        due = known.due(now)
        if due:
            known.expires, known.extended = min(now + 7 * DAY, known.cap), now
        known.seen = now
        answer = self.rpc.RefreshSession(request)
        assert seen(answer.session) == known.shown(now)
        assert answer.extended == due
        assert (answer.session_token != "") == (rotate and token == known.token)
        if answer.session_token:
            known.replaced[token] = now
            known.token = answer.session_token
        if keyed:
            self.answered.append((request, answer))
        return answer.session_token or token

    @precondition(lambda self: self.answered)
    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """A repeat gets the first answer, whenever it comes, and does nothing, whatever became of the session."""
        request, first = data.draw(st.sampled_from(self.answered))
        assert self.rpc.RefreshSession(request) == first
        request = pb.RefreshSessionRequest(session_token="another", request_id=request.request_id)
        self._refused(partial(self.rpc.RefreshSession, request), grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")

    @rule(token=tokens, named=st.sampled_from(["", "owner", "other"]))
    def sign_out(self, token: str, named: str) -> None:
        """Revoking by token ends a session that lives, and is no error otherwise; another user's is not found."""
        known = self._of(token)
        assert known is not None
        request = pb.RevokeSessionRequest(session_token=token, user_id=self._named(known, named))
        if named == "other":
            self._refused(partial(self.rpc.RevokeSession, request), grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
            return
        expected = int(known.end(self.now, "REVOKED"))
        assert self.rpc.RevokeSession(request).revoked_count == expected

    def _named(self, known: Known, named: str) -> str:
        other = next(user for user in self.users if user != known.user)
        return {"": "", "owner": known.user, "other": other}[named]

    @rule(token=tokens, named=st.sampled_from(["", "owner", "other"]))
    def revoke(self, token: str, named: str) -> None:
        """Revoking by id ends a session that lives; another user's is not found."""
        known = self._of(token)
        assert known is not None
        request = pb.RevokeSessionRequest(session_id=known.id, user_id=self._named(known, named))
        if named == "other":
            self._refused(partial(self.rpc.RevokeSession, request), grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
            return
        expected = int(known.end(self.now, "REVOKED"))
        assert self.rpc.RevokeSession(request).revoked_count == expected

    @rule(token=tokens)
    def revoke_others(self, token: str) -> None:
        """A good token ends all other sessions of its user; any other token ends none."""
        request = pb.RevokeOtherSessionsRequest(session_token=token)
        kept = self._admitted(token)
        if kept is None:
            self._refused(partial(self.rpc.RevokeOtherSessions, request))
            return
        ended = [each for each in self._live(kept.user) if each is not kept]
        for each in ended:
            each.end(self.now, "REVOKED")
        assert self.rpc.RevokeOtherSessions(request).revoked_count == len(ended)

    @rule(user=st.integers(0, 1))
    def revoke_all(self, user: int) -> None:
        """All sessions of one user end, and none of the other's."""
        ended = self._live(self.users[user])
        for each in ended:
            each.end(self.now, "REVOKED")
        request = pb.RevokeAllSessionsRequest(user_id=self.users[user])
        assert self.rpc.RevokeAllSessions(request).revoked_count == len(ended)

    @rule(user=st.integers(0, 1), size=st.integers(1, 3), token=tokens)
    def list_pages(self, user: int, size: int, token: str) -> None:
        """The pages hold the live sessions, newest first, each once, the token's marked; another's does nothing."""
        known = self._of(token)
        assert known is not None
        current = self._admitted(token) if known.user == self.users[user] else None
        expected = self._newest_first(self.users[user])
        request = pb.ListSessionsRequest(user_id=self.users[user], page_size=size, current_session_token=token)
        found = self._listed(request)
        assert [seen(each) for each in found] == [each.shown(self.now) for each in expected]
        assert [each.current for each in found] == [each is current for each in expected]

    @invariant()
    def lists_hold_what_lives(self) -> None:
        """Whatever happened, the server lists the sessions that the model has living, with the same times."""
        for user in self.users:
            listed = self._listed(pb.ListSessionsRequest(user_id=user, page_size=3))
            assert [seen(each) for each in listed] == [each.shown(self.now) for each in self._newest_first(user)]
            assert [ended(each) for each in listed] == [None] * len(listed)

    @invariant()
    def lists_of_all_hold_what_ever_lived(self) -> None:
        """Sessions that have ended are listed among the others, each with when and why, until they are purged."""
        for user in self.users:
            listed = self._listed(pb.ListSessionsRequest(user_id=user, page_size=3, include_ended=True))
            expected = self._newest_first(user, ended=True)
            assert [seen(each) for each in listed] == [each.shown(self.now) for each in expected]
            assert [ended(each) for each in listed] == [each.ended(self.now) for each in expected]

    def _newest_first(self, user: str, *, ended: bool = False) -> list[Known]:
        chosen = [each for each in self.known.values() if each.user == user] if ended else self._live(user)
        return sorted(chosen, key=lambda each: (each.created, each.id), reverse=True)

    def _listed(self, request: pb.ListSessionsRequest) -> list[pb.Session]:
        """Return the sessions of all pages."""
        found: list[pb.Session] = []
        while True:
            page = self.rpc.ListSessions(request)
            assert len(page.sessions) <= request.page_size
            found += page.sessions
            if not page.next_page_token:
                return found
            request.page_token = page.next_page_token

    def _of(self, token: str) -> Known | None:
        return next((each for each in self.known.values() if token in {each.token, *each.replaced}), None)

    def _live(self, user: str) -> list[Known]:
        return [each for each in self.known.values() if each.user == user and each.lives(self.now)]

    def _admitted(self, token: str) -> Known | None:
        """Return the session that the token is good for; a token replaced too long ago ends its session."""
        known = self._of(token)
        if known is None:
            return None
        if token in known.replaced and self.now - known.replaced[token] > GRACE:
            known.end(self.now, "STOLEN")
        return known if known.lives(self.now) else None

    def _refused(
        self,
        call: Callable[[], object],
        code: grpc.StatusCode = grpc.StatusCode.UNAUTHENTICATED,
        why: str = "SESSION_INVALID",
    ) -> None:
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert (refused.value.code(), reason(refused.value)) == (code, why)


@pytest.mark.long
def test_sessions_follow_their_rules(test_run: TestRun, mysql_server: MySQLServer) -> None:
    """Create, validate, refresh, rotate, revoke and list do what a plain model does, in any order, at any time."""
    clock = FrozenClock()
    with (
        migrated_mysql(test_run, mysql_server) as database,
        users_service(database, clock, log_level="error") as served,
        served.channel() as channel,
    ):
        stubs = BlockingStubs.on(channel)

        class OnServer(SessionRules):
            def __init__(self) -> None:
                super().__init__(clock, stubs)

        run_state_machine_as_test(
            OnServer,
            settings=settings(
                max_examples=30,
                stateful_step_count=40,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
