"""Answers kept for repeats whose work a crash has taken: of a transaction over shards, one may be committed alone.

Only a sharded Vitess has such transactions (docs/scaling.md). There lookups are committed first, then the key of the
request. So work that was lost is told from work that was done, and undone since, by a lookup's row that leads nowhere.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.message import Message
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.context.statements import named
from users_service.mysql.session_state import leads_to_vitess
from users_service.sessions import tokens
from users_service.users.email import folded

LookedFor = dict[str, Any]
# A lookup's row, and what it stands for: whoever removes the second removes the first in the same transaction.
_TOKEN: Final = (
    text("SELECT 1 FROM token_lookup WHERE token_hash = :token_hash"),
    (
        text("SELECT 1 FROM sessions WHERE token_hash = :token_hash"),
        text("SELECT 1 FROM rotated_session_tokens WHERE token_hash = :token_hash"),
    ),
)
_ACCOUNT: Final = (
    text("SELECT 1 FROM provider_lookup WHERE account_id = :account_id AND provider = :provider"),
    (text("SELECT 1 FROM accounts WHERE account_id = :account_id AND provider = :provider"),),
)
_USER: Final = (
    text("SELECT 1 FROM email_lookup WHERE email_normalized = :email"),
    (
        text("SELECT 1 FROM users WHERE id = :id"),
        text("SELECT 1 FROM users WHERE email_normalized = :email"),
    ),
)


@named
async def is_lost(connection: AsyncConnection, answer: Message, *, lock: bool) -> bool:
    """Whether what an answer tells of was never there; ``lock``: certain, for as long as the transaction lasts.

    Without, it may be that somebody removes it at this moment. What no lookup knows, such as a verification, is taken
    to be there.
    """
    asked = _asked(answer)
    if asked is None or not await leads_to_vitess(connection):
        return False
    (lookup, rows), values = asked
    if await _is_there(connection, _locking(lookup) if lock else lookup, values):
        return not any([await _is_there(connection, row, values) for row in rows])
    return False


def _asked(answer: Message) -> tuple[tuple[TextClause, tuple[TextClause, ...]], LookedFor] | None:
    """Return the lookup, and the rows, by which to judge an answer; None where there is none."""
    has = answer.DESCRIPTOR.fields_by_name
    given: Any = answer
    if "session_token" in has and given.session_token:
        return _TOKEN, {"token_hash": tokens.digest(given.session_token)}
    if "account" in has:
        return _ACCOUNT, {"account_id": given.account.account_id, "provider": given.account.provider}
    if "user" in has:
        return _USER, {"id": given.user.id, "email": folded(given.user.email)}
    return None


def _locking(statement: TextClause) -> TextClause:
    return text(f"{statement.text} FOR UPDATE")


async def _is_there(connection: AsyncConnection, statement: TextClause, values: LookedFor) -> bool:
    # Each statement takes those of the values that it names.
    return (await connection.execute(statement, values)).first() is not None
