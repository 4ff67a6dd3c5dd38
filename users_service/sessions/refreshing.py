"""Refreshing of sessions by idempotent requests: moving the end of one, and replacing its token.

This service takes and returns messages of the contract, because the first answer is kept for repeats.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy.ext.asyncio import AsyncConnection
from vibework.users.v1 import session_service_pb2 as pb

from chassis.clock import Clock
from users_service.errors import SessionInvalid
from users_service.idempotency import Idempotency
from users_service.mysql.database_clock import DatabaseClock
from users_service.sessions import repository, tokens
from users_service.sessions.admission import Admission
from users_service.sessions.messages import fill
from users_service.sessions.model import Session
from users_service.sessions.reads import FoundSession, Standing


class SessionRefresh:
    """Carries out RefreshSession."""

    def __init__(
        self, admission: Admission, idempotency: Idempotency, clock: Clock, database_clock: DatabaseClock
    ) -> None:
        self._admission = admission
        self._idempotency = idempotency
        self._clock = clock
        self._database_clock = database_clock

    async def refresh(self, request: pb.RefreshSessionRequest) -> pb.RefreshSessionResponse:
        """Extend the session if that is due, and replace its token if that is asked for.

        If two calls replace the same token at the same time, only one of them does. To the other the token is in its
        grace period, so it extends the session without replacing the token. Raises SessionInvalid, RequestIdReused,
        RequestInFlight.
        """
        found = await self._admission.find(request.session_token)
        # Behind the look-up: if the token was replaced by the first of these requests, its answer is there by now, and
        # a repeat is no theft, however late it comes.
        answer = await self._idempotency.remembered(request, pb.RefreshSessionResponse)
        if answer is not None:
            return answer
        now = self._clock()
        found = await self._admission.judge(found, now)
        replacement = tokens.generate() if request.rotate_token and found.standing is Standing.CURRENT else ""
        work = partial(self._refreshed, found, replacement, now)
        return await self._idempotency.run(request, pb.RefreshSessionResponse, work)

    async def _refreshed(
        self, found: FoundSession, replacement: str, now: datetime, connection: AsyncConnection
    ) -> pb.RefreshSessionResponse:
        replaced = replacement != "" and await self._replace(connection, found.session, replacement, now)
        extended = await repository.extend(connection, found.session, now)
        if not extended and not await repository.touch(connection, found.session, now):
            raise SessionInvalid
        session = await repository.get(connection, found.session.id, found.session.user_id)
        if session is None:
            raise SessionInvalid
        response = pb.RefreshSessionResponse(extended=extended, session_token=replacement if replaced else "")
        fill(response.session, session, now)
        return response

    async def _replace(self, connection: AsyncConnection, session: Session, replacement: str, now: datetime) -> bool:
        """Replace the token, and note when by the database's clock; its grace is counted by the same."""
        new_hash, rotated_at = tokens.digest(replacement), await self._database_clock(connection)
        return await repository.replace_token(connection, session, new_hash, now, rotated_at)
