"""The systems whose tables can be adopted: the source's own, and Better Auth; how theirs are told from others.

A table is recognised by its columns' names, not their types: the same system makes other types by another adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from sqlalchemy import Connection, text

from users_service.migrations.table_definitions import ForeignTable

RowKind = Literal["users", "sessions", "accounts"]
# Also the order in which they are copied: the later ones refer to users.
KINDS: Final[tuple[RowKind, ...]] = ("users", "sessions", "accounts")
# What is put before the name of a table that bears one of ours.
ASIDE: Final = "adopted_"
_COLUMNS: Final = text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()")

# Table by table, in lower case as the server compares them: the columns.
Found = Mapping[str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class Layout:
    """A table of another system: its columns by the names that they have here."""

    table: str
    columns: Mapping[str, str]
    # Those that not every version or plugin has.
    optional: Mapping[str, str] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """Return what a column is called there."""
        return self.columns.get(name) or self.optional[name]

    def lacks(self, columns: frozenset[str]) -> str | None:
        """Return the first column that a table lacks to be this one; None where it is."""
        return next((column for column in self.columns.values() if column.lower() not in columns), None)

    def within(self, columns: frozenset[str]) -> Layout:
        """Return the layout with those of the optional columns that are there."""
        there = {name: column for name, column in self.optional.items() if column.lower() in columns}
        return replace(self, columns={**self.columns, **there}, optional={})


@dataclass(frozen=True, slots=True)
class Origin:
    """A system whose tables can be adopted."""

    name: str
    title: str
    layouts: Mapping[RowKind, Layout]
    # Its further tables whose names are, or are like, ours.
    others: tuple[str, ...]
    # By table: a column that only ours of the same name has. Empty: the names differ, and the tables stay.
    ours: Mapping[str, str] = field(default_factory=dict)

    @property
    def tables(self) -> frozenset[str]:
        """The names of all its tables."""
        return frozenset({layout.table for layout in self.layouts.values()} | set(self.others))

    def aside(self) -> Origin:
        """Return the origin as it is once its tables were put aside; the same where they stay."""
        if not self.ours:
            return self
        layouts = {kind: replace(layout, table=ASIDE + layout.table) for kind, layout in self.layouts.items()}
        return replace(self, layouts=layouts, others=tuple(ASIDE + name for name in self.others), ours={})

    def within(self, found: Found) -> Origin:
        """Return the origin with those of its tables and columns that are there."""
        there = {kind: each.within(found[each.table]) for kind, each in self.layouts.items() if each.table in found}
        return replace(self, layouts=there, others=tuple(name for name in self.others if name in found))


SOURCE: Final = Origin(
    name="source",
    title="the system that this one replaces",
    layouts={
        "users": Layout(
            "users",
            {name: name for name in ("id", "email", "name", "password_hash", "image", "created_at", "updated_at")},
            {"email_verified": "email_verified"},
        ),
        # There is no token: what a client holds is the id.
        "sessions": Layout(
            "sessions",
            {"id": "id", "token": "id", **{name: name for name in ("user_id", "expires_at", "created_at")}},
        ),
        "accounts": Layout(
            "accounts",
            {
                name: name
                for name in (
                    *("id", "user_id", "account_id", "provider", "access_token", "refresh_token", "id_token"),
                    *("expires_at", "password", "created_at", "updated_at"),
                )
            },
        ),
    },
    others=("verifications",),
    ours={
        "users": "email_normalized",
        "sessions": "token_hash",
        "accounts": "token_key_id",
        "verifications": "purpose",
    },
)

BETTER_AUTH: Final = Origin(
    name="better-auth",
    title="Better Auth",
    layouts={
        "users": Layout(
            "user",
            {
                **{name: name for name in ("id", "email", "name", "image")},
                "email_verified": "emailVerified",
                "created_at": "createdAt",
                "updated_at": "updatedAt",
            },
            {
                "banned": "banned",
                "ban_reason": "banReason",
                "ban_expires": "banExpires",
                "second_factor": "twoFactorEnabled",
            },
        ),
        "sessions": Layout(
            "session",
            {
                "id": "id",
                "token": "token",
                "user_id": "userId",
                "expires_at": "expiresAt",
                "created_at": "createdAt",
                "updated_at": "updatedAt",
            },
            {"ip_address": "ipAddress", "user_agent": "userAgent", "impersonated_by": "impersonatedBy"},
        ),
        "accounts": Layout(
            "account",
            {
                "id": "id",
                "user_id": "userId",
                "account_id": "accountId",
                "provider": "providerId",
                "access_token": "accessToken",
                "refresh_token": "refreshToken",
                "id_token": "idToken",
                "password": "password",
                "created_at": "createdAt",
                "updated_at": "updatedAt",
            },
            {
                "expires_at": "accessTokenExpiresAt",
                "refresh_token_expires_at": "refreshTokenExpiresAt",
                "scope": "scope",
            },
        ),
    },
    others=("verification",),
)

ORIGINS: Final = (SOURCE, BETTER_AUTH)


def recognise(connection: Connection) -> Origin | None:
    """Return the system whose tables are there, with what is there of them; None where there is none.

    Raises ForeignTable where some of its tables are not as it makes them, or both systems' are there.
    """
    found = columns(connection)
    there = [origin for origin in ORIGINS if _has_users(origin, found)]
    if len(there) > 1:
        table = there[1].layouts["users"].table
        raise ForeignTable(table, "it is beside tables of another system, and only one can be adopted")
    if not there:
        return None
    _refuse_others(there[0], found)
    return there[0].within(found)


def named(name: str, connection: Connection) -> Origin:
    """Return the system of that name, put aside, with what is there of it."""
    origin = next(each for each in ORIGINS if each.name == name)
    return origin.aside().within(columns(connection))


def columns(connection: Connection) -> Found:
    """Return the columns of all tables."""
    found: dict[str, set[str]] = {}
    for table, column in connection.execute(_COLUMNS):
        found.setdefault(str(table), set()).add(str(column).lower())
    return {table: frozenset(names) for table, names in found.items()}


def is_ours(origin: Origin, table: str, found: Found) -> bool:
    """Whether a table that bears the name of one of the origin's is this service's."""
    return origin.ours.get(table, "") in found[table]


def _has_users(origin: Origin, found: Found) -> bool:
    users = origin.layouts["users"]
    there = found.get(users.table)
    return there is not None and users.lacks(there) is None and not is_ours(origin, users.table, found)


def _refuse_others(origin: Origin, found: Found) -> None:
    """Raise ForeignTable where one of the origin's further tables is another's."""
    for layout in origin.layouts.values():
        if layout.table not in found or is_ours(origin, layout.table, found):
            continue
        if missing := layout.lacks(found[layout.table]):
            raise ForeignTable(layout.table, f"it has no column {missing} as that of {origin.title} has")
    for table in origin.ours:
        if table in found and is_ours(origin, table, found):
            raise ForeignTable(table, f"it is this service's already, beside tables of {origin.title}")
        if ASIDE + table in found:
            raise ForeignTable(ASIDE + table, f"the table {table} of {origin.title} is to be called so")
