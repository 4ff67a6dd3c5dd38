"""Services with one guard taken away, which the checks must find: what proves that they find anything.

`python -m tests.reliability.served` takes one away in its process where WITHOUT_GUARD names it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True)
class Mutant:
    """A guard. ``remove``: take it away, in this process; ``finds``: the check that must find that it is gone."""

    remove: Callable[[], None]
    finds: str


def _etag_of_users() -> None:
    """Let an update of a user take effect whatever its etag."""
    from users_service.users import repository

    change_user: Any = repository.change_user

    async def unguarded(connection: AsyncConnection, id_: str, changes: Any, now: Any, *, revision: Any) -> bool:
        return bool(await change_user(connection, id_, changes, now, revision=None))

    repository.change_user = unguarded


def _etag_of_notifications() -> None:
    """Let an update of a notification take effect whatever its etag."""
    from notifications_service.notification import documents

    def unguarded(etag: str) -> dict[str, Any] | None:
        return {}

    documents.etag_query = unguarded


def _consumed_at() -> None:
    """Let a secret be consumed again."""
    from users_service.tables import verifications
    from users_service.verifications import repository

    async def unguarded(connection: AsyncConnection, which: Any, candidates: Any, now: Any) -> bool:
        found = (await connection.execute(select(verifications.c.value).where(which))).scalar_one_or_none()
        await connection.execute(update(verifications).where(which).values(consumed_at=now, updated_at=now))
        return found in candidates

    repository.attempt = unguarded


def _first_answers() -> None:
    """Carry out every request, whatever was done for its request_id."""
    from users_service.idempotency import Idempotency

    async def run(self: Any, request: Any, answer: Any, work: Any) -> Any:
        return await self._database.transaction(work)

    async def remembered(*_: object) -> None:
        return None

    Idempotency.run = run  # type: ignore[method-assign]
    Idempotency.remembered = remembered  # type: ignore[assignment,method-assign]


def _ended_sessions() -> None:
    """Let a session that was revoked be used and refreshed."""
    from users_service.sessions import lifetime, repository
    from users_service.tables import sessions

    lifetime.is_live = lambda session, now: session.expires_at > now
    repository.is_live = lambda now: sessions.c.expires_at > now


def _replaced_tokens() -> None:
    """Let a token be replaced by each of several at once."""
    from users_service.sessions import repository
    from users_service.tables import rotated_session_tokens, sessions

    async def unguarded(connection: AsyncConnection, session: Any, new_hash: bytes, now: Any, rotated_at: Any) -> bool:
        changed = update(sessions).where(sessions.c.id == session.id).values(token_hash=new_hash)
        await connection.execute(changed)
        replaced = insert(rotated_session_tokens).prefix_with("IGNORE")
        row = {"token_hash": session.token_hash, "session_id": session.id, "rotated_at": rotated_at}
        await connection.execute(replaced.values(row))
        return True

    repository.replace_token = unguarded


MUTANTS: Final[Mapping[str, Mutant]] = {
    "etag of users": Mutant(_etag_of_users, "order"),
    "etag of notifications": Mutant(_etag_of_notifications, "order"),
    "consumed_at": Mutant(_consumed_at, "order"),
    "first answers": Mutant(_first_answers, "doubled"),
    "ended sessions": Mutant(_ended_sessions, "order"),
    "replaced tokens": Mutant(_replaced_tokens, "order"),
}
