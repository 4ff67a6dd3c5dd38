"""The check of end users' sessions for asyncio; see ``vibework.client.sessions``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
from vibework.client import errors
from vibework.client._generated.aio_users import UsersCalls
from vibework.client.sessions import (
    CACHE_ENTRIES,
    CACHE_SECONDS,
    HEADER,
    OPEN,
    Cache,
    CheckedSession,
    answer_to,
    bearer_of,
    is_open,
    rebuilt,
    within,
)


class SessionCheck:
    """Finds the sessions of tokens, within one event loop."""

    def __init__(
        self,
        users: UsersCalls,
        *,
        cache_seconds: float = CACHE_SECONDS,
        cache_entries: int = CACHE_ENTRIES,
        include_user: bool = False,
    ) -> None:
        """``cache_seconds``: how long a good session is believed; ``include_user``: read the user, too."""
        self._users = users
        self._include_user = include_user
        self._cache = Cache(cache_seconds, cache_entries)

    async def check(self, token: str) -> CheckedSession:
        """Return the session of a token. Raises errors.SessionInvalid, or errors.VibeworkError where nobody answers."""
        if (known := self._cache.get(token)) is not None:
            return known
        answer = await self._users.validate_session(session_token=token, include_user=self._include_user)
        checked = CheckedSession.of(answer)
        self._cache.put(token, checked)
        return checked

    def forget(self, token: str) -> None:
        """Believe a token no longer, as after a sign-out in this process."""
        self._cache.forget(token)


class SessionInterceptor(grpc.aio.ServerInterceptor):
    """Answers UNAUTHENTICATED where a call has no good session, and UNAVAILABLE where nobody can say.

    ``current_session()`` returns the session in handlers. ``open_methods``: patterns of methods that need none.
    """

    def __init__(self, check: SessionCheck, open_methods: Iterable[str] = OPEN) -> None:
        self._check = check
        self._open = tuple(open_methods)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Check the session of a call before it is answered."""
        handler = await continuation(handler_call_details)
        if handler is None or is_open(handler_call_details.method, self._open):
            return handler
        headers = dict(handler_call_details.invocation_metadata or ())

        async def check() -> CheckedSession:
            return await self._check.check(bearer_of(headers.get(HEADER)))

        return _around(handler, check)


def _around(handler: Any, check: Callable[[], Awaitable[CheckedSession]]) -> Any:
    """Return a handler that checks first; of the same kind as the one it stands for."""

    async def checked(context: Any) -> CheckedSession:
        try:
            return await check()
        except errors.VibeworkError as failure:
            await context.abort(*answer_to(failure))
            raise

    def one(behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            with within(await checked(context)):
                return await behaviour(request, context)

        return call

    def many(behaviour: Any) -> Any:
        async def call(request: Any, context: Any) -> Any:
            with within(await checked(context)):
                async for message in behaviour(request, context):
                    yield message

        return call

    return rebuilt(handler, one, many)
