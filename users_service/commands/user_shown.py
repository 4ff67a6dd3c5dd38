"""Lines of 80 columns, and values for JSON, of a user and the sessions of it; nothing of them is a secret."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from users_service.sessions import lifetime
from users_service.sessions.model import Session
from users_service.users.model import User

COLUMNS: Final = 80
LONGEST_REASON: Final = 255
# Columns of the names of fields.
HEAD: Final = 15


def printable(text: str) -> str:
    """Return a text without what a terminal would act on: names and user agents come from anybody."""
    return "".join(each if each.isprintable() else "?" for each in text)


def plain(value: Any) -> str:
    """Return what JSON has no type for: times, as RFC 3339 writes them."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def state(user: User) -> str:
    """Return the state as it is told."""
    return "disabled" if user.is_disabled else "active"


def user(found: User, ways_in: Sequence[str], live_sessions: int) -> dict[str, Any]:
    """Return what is shown of a user."""
    return {
        "id": found.id,
        "email": found.email,
        "email_verified": found.email_verified,
        "name": found.name,
        "state": state(found),
        "disabled_at": found.disabled_at,
        "disabled_until": found.disabled_until,
        "disabled_reason": found.disabled_reason,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "etag": found.etag,
        "ways_in": list(ways_in),
        "live_sessions": live_sessions,
    }


def fields(values: dict[str, Any]) -> list[str]:
    """Return the fields that have a value, each on as many lines as it takes."""
    lines = []
    for name, value in values.items():
        if value in (None, "", []):
            continue
        head = name.replace("_", " ")
        for part in _wrapped(_text(value), COLUMNS - HEAD - 2):
            lines.append(f"{head:<{HEAD}}  {part}")
            head = ""
    return lines


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return printable(", ".join(value) if isinstance(value, list) else str(value))


def session(found: Session, now: datetime) -> dict[str, Any]:
    """Return what is shown of a session."""
    return {
        "id": found.id,
        "state": _standing(found, now),
        "authentication_method": found.authentication_method and found.authentication_method.value,
        "user_agent": found.user_agent,
        "ip_address": found.ip_address,
        "created_at": found.created_at,
        "last_seen_at": found.last_seen_at,
        "expires_at": found.expires_at,
        "ended_at": lifetime.ended_at(found, now),
    }


def _standing(found: Session, now: datetime) -> str:
    if lifetime.has_expired(found, now):
        return "expired"
    return "live" if found.revoked_at is None else found.revoked_reason or "ended"


def session_lines(row: dict[str, Any]) -> list[str]:
    """Return the two lines of a session: what it is and where it came from, then when it was."""
    method = row["authentication_method"] or "-"
    head = f"{_clipped(row['id'], 31):<31}  {_clipped(row['state'], 16):<16}  {method:<12}"
    until = row["ended_at"] or row["expires_at"]
    span = f"  {row['created_at']:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M}"
    where = " ".join(filter(None, (row["ip_address"], row["user_agent"])))
    return [head.rstrip(), f"{span}  {_clipped(where, COLUMNS - len(span) - 2)}".rstrip()]


def _clipped(text: str, columns: int) -> str:
    """Return as much of a text as so many columns of a terminal hold."""
    first, *more = _wrapped(printable(text), columns)
    return first if not more else f"{_wrapped(first, columns - 1)[0]}…"


def _wrapped(text: str, columns: int) -> list[str]:
    """Return the lines of so many columns that a text takes; one at least."""
    lines, used = [""], 0
    for each in text:
        width = _columns_of(each)
        if used + width > columns:
            lines.append("")
            used = 0
        lines[-1] += each
        used += width
    return lines


def _columns_of(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
