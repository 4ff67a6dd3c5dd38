"""The MySQL schema: every table, column, key and index, each named once.

The four tables of the source keep their names, keys and indexes; comments say why columns were added. Times are in UTC
with microseconds. Text is compared byte by byte except for spaces at its end (``utf8mb4_bin``), so text that is to be
compared without case is stored folded. ``Key`` columns compare every byte, whatever their collation.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BINARY,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.mysql import DATETIME, MEDIUMBLOB, TIMESTAMP

from users_service.keys import Key

metadata = MetaData()

OPTIONS: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
NOW = "CURRENT_TIMESTAMP(6)"
# Indexes that statements name (FORCE INDEX): without them these fail.
NAMED = frozenset(
    {
        ("users", "idx_created_at"),
        ("users", "idx_email_verified"),
        ("users", "idx_updated_at"),
        ("users", "idx_is_disabled"),
        ("sessions", "idx_user_id"),
        ("outbox", "idx_available_at"),
    }
)


def _id() -> Column[Any]:
    return Column("id", Key(255), primary_key=True)


def _time(name: str, *, nullable: bool = False) -> Column[Any]:
    # There is a default because MariaDB before 10.10 gives a bare TIMESTAMP one that changes on every update. It is the
    # current time, because a session or token whose end was not set by mistake has then expired.
    return Column(name, TIMESTAMP(fsp=6), nullable=nullable, server_default=None if nullable else text(NOW))


def _created_at() -> Column[Any]:
    return Column("created_at", TIMESTAMP(fsp=6), nullable=False, server_default=text(NOW))


def _updated_at() -> Column[Any]:
    return Column("updated_at", TIMESTAMP(fsp=6), nullable=False, server_default=text(f"{NOW} ON UPDATE {NOW}"))


def _revision() -> Column[Any]:
    # What the etag is made of (AIP-154): counts the changes of the row.
    return Column("revision", Integer, nullable=False, server_default=text("1"))


users = Table(
    "users",
    metadata,
    _id(),
    Column("email", Key(255), nullable=False),
    # The form in which addresses are unique and looked up: case-folded, at most 254 characters.
    Column("email_normalized", Key(255), nullable=False),
    Column("email_verified", Boolean, nullable=False, server_default=text("0")),
    Column("name", String(255)),
    # Written by the source's own system only; the first sign-in moves it to accounts.password.
    Column("password_hash", Text),
    Column("image", String(255)),
    # NULL: the user is active, or was never disabled.
    _time("disabled_at", nullable=True),
    # In UTC. No TIMESTAMP: those end in 2038, and an end may lie later.
    Column("disabled_until", DATETIME(fsp=6)),
    Column("disabled_reason", String(255)),
    # Whether disabled_at is set, for an index that has the disabled users in order of creation. The end of some of them
    # may have passed.
    Column("is_disabled", Boolean, nullable=False, server_default=text("0")),
    _revision(),
    _created_at(),
    _updated_at(),
    UniqueConstraint("email_normalized", name="uniq_email_normalized"),
    Index("idx_email", "email", unique=True),
    Index("idx_created_at", "created_at", "id"),
    Index("idx_email_verified", "email_verified", "created_at", "id"),
    Index("idx_updated_at", "updated_at", "id"),
    Index("idx_is_disabled", "is_disabled", "created_at", "id"),
    **OPTIONS,
)

sessions = Table(
    "sessions",
    metadata,
    _id(),
    Column("user_id", Key(255), ForeignKey("users.id", name="fk_sessions_user"), nullable=False),
    # SHA-256 of the token; the token itself is returned once and never stored.
    Column("token_hash", BINARY(32), nullable=False),
    _time("expires_at"),
    _time("absolute_expires_at"),
    # When the lifetime was last extended; a refresh is due one day later.
    _time("extended_at"),
    _time("last_seen_at"),
    _time("revoked_at", nullable=True),
    Column("revoked_reason", String(32)),
    Column("do_not_remember", Boolean, nullable=False, server_default=text("0")),
    Column("ip_address", String(45)),
    Column("user_agent", String(512)),
    # NULL: not known, as of sessions from before it was kept.
    Column("authentication_method", String(16)),
    _created_at(),
    UniqueConstraint("token_hash", name="uniq_token_hash"),
    Index("idx_user_id", "user_id", "created_at", "id"),
    Index("idx_expires_at", "expires_at"),
    Index("idx_revoked_at", "revoked_at"),
    **OPTIONS,
)

# Tokens that a rotation replaced: good for a short grace, afterwards a sign of theft.
rotated_session_tokens = Table(
    "rotated_session_tokens",
    metadata,
    Column("token_hash", BINARY(32), primary_key=True),
    Column(
        "session_id",
        Key(255),
        ForeignKey("sessions.id", name="fk_rotated_session_tokens_session", ondelete="CASCADE"),
        nullable=False,
    ),
    _time("rotated_at"),
    Index("idx_session_id", "session_id"),
    **OPTIONS,
)

verifications = Table(
    "verifications",
    metadata,
    _id(),
    Column("identifier", Key(255), nullable=False),
    # Keyed hash of the code or token, in hexadecimal.
    Column("value", Key(255), nullable=False),
    Column("purpose", Key(32), nullable=False),
    Column("kind", Key(16), nullable=False),
    # Whose address is to change; empty: the verification is for no particular user.
    Column("user_id", Key(255), nullable=False, server_default=text("''")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _time("consumed_at", nullable=True),
    _time("expires_at"),
    _created_at(),
    _updated_at(),
    UniqueConstraint("identifier", "value", name="uniq_identifier_value"),
    # One living verification for each purpose, identifier, kind and user: a new one takes the row of the old.
    UniqueConstraint("purpose", "identifier", "kind", "user_id", name="uniq_purpose_identifier_kind_user"),
    # A change of a user ends what was made for the user, to whatever address.
    Index("idx_user_id", "user_id"),
    Index("idx_expires_at", "expires_at"),
    **OPTIONS,
)

accounts = Table(
    "accounts",
    metadata,
    _id(),
    Column("user_id", Key(255), ForeignKey("users.id", name="fk_accounts_user"), nullable=False),
    Column("account_id", Key(255), nullable=False),
    Column("provider", Key(255), nullable=False),
    # The three tokens are encrypted; token_key_id names the key.
    Column("access_token", Text),
    Column("refresh_token", Text),
    Column("id_token", Text),
    # Seconds since 1970, as providers tell it.
    Column("expires_at", BigInteger),
    Column("refresh_token_expires_at", BigInteger),
    Column("scope", String(2048)),
    Column("token_key_id", String(32)),
    Column("password", String(255)),
    # The user's address in its normalised form as the provider last said that it has verified it; NULL: it has not.
    Column("verified_email", Key(255)),
    _revision(),
    _created_at(),
    _updated_at(),
    UniqueConstraint("provider", "account_id", name="uniq_provider_account"),
    Index("idx_user_id", "user_id", "created_at", "id"),
    Index("idx_token_key_id", "token_key_id"),
    **OPTIONS,
)

# First answers to calls with a request_id (AIP-155), encrypted; kept a day.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("method", Key(64), primary_key=True),
    Column("request_id", Key(36), primary_key=True),
    Column("fingerprint", BINARY(32), nullable=False),
    Column("response", MEDIUMBLOB),
    _created_at(),
    Index("idx_created_at", "created_at"),
    **OPTIONS,
)

# Calls to make to the other service once the transaction that wrote the row has committed.
outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("kind", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _time("available_at"),
    _time("leased_until", nullable=True),
    _created_at(),
    Index("idx_available_at", "available_at"),
    **OPTIONS,
)

# What happened to users, written in the transactions that did it. Rows outlive their users, hence no foreign key.
user_events = Table(
    "user_events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    # The place in the order that watchers follow; NULL until a sequencer gives it. Transactions commit in another order
    # than that of their ids.
    Column("seq", BigInteger),
    Column("user_id", Key(255), nullable=False),
    Column("kind", String(32), nullable=False),
    # That of the user after the event; NULL where the user is gone.
    Column("revision", Integer),
    Column("session_id", Key(255)),
    Column("occurred_at", TIMESTAMP(fsp=6), nullable=False, server_default=text(NOW)),
    # When it got its place, by the database's clock: history is kept from then on. It also tells an event from another
    # one at the same place, as there may be after a failover that lost some.
    _time("sequenced_at", nullable=True),
    UniqueConstraint("seq", name="uniq_seq"),
    **OPTIONS,
)

# One row: which history of events this database has.
event_sequence = Table(
    "event_sequence",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # Drawn anew by a restore, after which other events may get the places of those that were lost.
    Column("epoch", BINARY(16), nullable=False),
    # The last place whose event was purged, with all before it.
    Column("purged", BigInteger, nullable=False, server_default=text("0")),
    **OPTIONS,
)

# Attempts within a window, per scope and subject (a keyed hash of an address or account): see ``attempts``.
attempt_counters = Table(
    "attempt_counters",
    metadata,
    Column("scope", Key(32), primary_key=True),
    Column("subject", BINARY(32), primary_key=True),
    Column("attempts", Integer, nullable=False),
    _time("window_ends_at"),
    Index("idx_window_ends_at", "window_ends_at"),
    **OPTIONS,
)
