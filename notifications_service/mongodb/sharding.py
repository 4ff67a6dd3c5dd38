"""The shard key, `userId`, beside other conditions: on a sharded cluster a command then goes to one shard, or to few.

Without it the command is right too, and goes to all (docs/scaling.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from notifications_service.mongodb.codec import Document


def of_users(users: Iterable[str | None]) -> Document:
    """Return the condition that rows are of these users (None: of nobody); of any where none is named."""
    named = set(users)
    if not named:
        return {}
    wanted = sorted(named, key=lambda user: (user is not None, user))
    return {"userId": wanted[0] if len(wanted) == 1 else {"$in": wanted}}


def of_rows(rows: Sequence[Mapping[str, Any]]) -> Document:
    """Return the condition that rows are of the users of these; none where one's is no text, as others may store it."""
    users = [row.get("userId") for row in rows]
    return of_users(users) if all(isinstance(user, str) for user in users) else {}
