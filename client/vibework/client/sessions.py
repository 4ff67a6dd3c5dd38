"""The check of end users' sessions, for services that trust the users service.

A service takes the token of each call (``authorization: Bearer …``), and has the user's session while it answers::

    check = SessionCheck(Users.connect("users:50051"))
    server = grpc.server(executor, interceptors=[SessionInterceptor(check)])

    def GetCart(self, request, context):
        user_id = current_session().user_id

``vibework.client.aio`` has the same for asyncio, and ``vibework.client.starlette`` for Starlette and FastAPI.

**How soon a sign-out holds.** A session that was found good is believed for ``cache_seconds``, 5 unless told otherwise;
so long may a token still work that was revoked, replaced, or whose user was disabled. 0 asks for every call.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final

import grpc
from vibework.client import Users, errors
from vibework.users.v1 import Session, User, ValidateSessionResponse

CACHE_SECONDS: Final = 5.0
CACHE_ENTRIES: Final = 10_000
# Methods that need no session: health and reflection.
OPEN: Final = ("/grpc.health.v1.Health/*", "/grpc.reflection.*/*")
HEADER: Final = "authorization"


@dataclass(frozen=True, slots=True)
class CheckedSession:
    """The session of a call; ``refresh_due``: RefreshSession would extend it; ``user``: where it was asked for."""

    session: Session
    refresh_due: bool
    user: User | None = None

    @property
    def user_id(self) -> str:
        """Return whose session it is."""
        return self.session.user_id

    @classmethod
    def of(cls, answer: ValidateSessionResponse) -> CheckedSession:
        """Read the answer of ValidateSession."""
        return cls(answer.session, answer.refresh_due, answer.user if answer.HasField("user") else None)


class SessionRequired(RuntimeError):
    """There is no session: the code does not run within a call that was checked."""


_CURRENT: ContextVar[CheckedSession | None] = ContextVar("vibework_session", default=None)


def current_session() -> CheckedSession:
    """Return the session of the call that is being answered. Raises SessionRequired."""
    if (found := _CURRENT.get()) is None:
        raise SessionRequired("no session was checked for this call")
    return found


@contextmanager
def within(checked: CheckedSession) -> Iterator[None]:
    """Make a session the current one, within the block."""
    token = _CURRENT.set(checked)
    try:
        yield
    finally:
        _CURRENT.reset(token)


class Cache:
    """What was found good a moment ago, by the hash of its token; the oldest goes first. Thread-safe."""

    def __init__(self, seconds: float, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        if seconds < 0 or entries < 1:
            raise ValueError("cache_seconds must be 0 or more, cache_entries 1 or more")
        self._seconds = seconds
        self._entries = entries
        self._clock = clock
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, tuple[float, CheckedSession]] = OrderedDict()

    def get(self, token: str) -> CheckedSession | None:
        """Return the session of a token, while it is believed, and has not reached its end."""
        with self._lock:
            entry = self._found.get(_key(token))
        if entry is None or self._clock() >= entry[0] or entry[1].session.expires_at.ToNanoseconds() <= time.time_ns():
            return None
        return entry[1]

    def put(self, token: str, checked: CheckedSession) -> None:
        """Remember a session."""
        if not self._seconds:
            return
        with self._lock:
            self._found[_key(token)] = (self._clock() + self._seconds, checked)
            self._found.move_to_end(_key(token))
            while len(self._found) > self._entries:
                self._found.popitem(last=False)

    def forget(self, token: str) -> None:
        """Forget a session, as after a sign-out in this process."""
        with self._lock:
            self._found.pop(_key(token), None)


def _key(token: str) -> bytes:
    # The token itself is not kept: a dump of the memory opens nothing.
    return hashlib.sha256(token.encode()).digest()


class SessionCheck:
    """Finds the sessions of tokens; shared by threads."""

    def __init__(
        self,
        users: Users,
        *,
        cache_seconds: float = CACHE_SECONDS,
        cache_entries: int = CACHE_ENTRIES,
        include_user: bool = False,
    ) -> None:
        """``cache_seconds``: how long a good session is believed; ``include_user``: read the user, too."""
        self._users = users
        self._include_user = include_user
        self._cache = Cache(cache_seconds, cache_entries)

    def check(self, token: str) -> CheckedSession:
        """Return the session of a token. Raises errors.SessionInvalid, or errors.VibeworkError where nobody answers."""
        if (known := self._cache.get(token)) is not None:
            return known
        answer = self._users.validate_session(session_token=token, include_user=self._include_user)
        checked = CheckedSession.of(answer)
        self._cache.put(token, checked)
        return checked

    def forget(self, token: str) -> None:
        """Believe a token no longer, as after a sign-out in this process."""
        self._cache.forget(token)


def bearer_of(value: str | bytes | None) -> str:
    """Return the token of an ``authorization`` header (RFC 6750). Raises errors.SessionInvalid where there is none."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value or ""
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.SessionInvalid("a bearer token is needed", reason="SESSION_INVALID", code=UNAUTHENTICATED)
    return token.strip()


UNAUTHENTICATED: Final = grpc.StatusCode.UNAUTHENTICATED


def is_open(method: str, patterns: Iterable[str]) -> bool:
    """Say whether a method, ``/package.Service/Method``, needs no session."""
    return any(fnmatchcase(method, pattern) for pattern in patterns)


def answer_to(failure: errors.VibeworkError) -> tuple[grpc.StatusCode, str]:
    """Return what a caller is told: that the session is not good, or that nobody can say."""
    if isinstance(failure, errors.SessionInvalid | errors.InvalidFields):
        return UNAUTHENTICATED, "the session is not valid"
    return grpc.StatusCode.UNAVAILABLE, "the session cannot be checked now"


class SessionInterceptor(grpc.ServerInterceptor):
    """Answers UNAUTHENTICATED where a call has no good session, and UNAVAILABLE where nobody can say.

    ``current_session()`` returns the session in handlers. ``open_methods``: patterns of methods that need none.
    """

    def __init__(self, check: SessionCheck, open_methods: Iterable[str] = OPEN) -> None:
        self._check = check
        self._open = tuple(open_methods)

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Check the session of a call before it is answered."""
        handler = continuation(handler_call_details)
        if handler is None or is_open(handler_call_details.method, self._open):
            return handler
        headers = dict(handler_call_details.invocation_metadata or ())
        return _around(handler, lambda: self._check.check(bearer_of(headers.get(HEADER))))


def _around(handler: Any, check: Callable[[], CheckedSession]) -> Any:
    """Return a handler that checks first; of the same kind as the one it stands for."""

    def checked(context: Any) -> CheckedSession:
        try:
            return check()
        except errors.VibeworkError as failure:
            context.abort(*answer_to(failure))
            raise

    def one(behaviour: Any) -> Any:
        def call(request: Any, context: Any) -> Any:
            with within(checked(context)):
                return behaviour(request, context)

        return call

    def many(behaviour: Any) -> Any:
        def call(request: Any, context: Any) -> Any:
            with within(checked(context)):
                yield from behaviour(request, context)

        return call

    return rebuilt(handler, one, many)


def rebuilt(handler: Any, one: Callable[[Any], Any], many: Callable[[Any], Any]) -> Any:
    """Return a handler like another one, whose behaviour is wrapped: by ``many`` where it answers a stream."""
    kinds = {
        (False, False): ("unary_unary", one, grpc.unary_unary_rpc_method_handler),
        (False, True): ("unary_stream", many, grpc.unary_stream_rpc_method_handler),
        (True, False): ("stream_unary", one, grpc.stream_unary_rpc_method_handler),
        (True, True): ("stream_stream", many, grpc.stream_stream_rpc_method_handler),
    }
    name, wrap, make = kinds[handler.request_streaming, handler.response_streaming]
    return make(wrap(getattr(handler, name)), handler.request_deserializer, handler.response_serializer)


__all__ = [
    "CheckedSession",
    "SessionCheck",
    "SessionInterceptor",
    "SessionRequired",
    "current_session",
]
