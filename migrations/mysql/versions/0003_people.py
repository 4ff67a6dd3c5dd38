"""People: disabled users, how sessions began, secrets of each kind and user beside each other, events of users.

Every step looks first whether it is done, so a revision that was cut off may be run again.
"""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import inspect

revision = "0003"
down_revision = "0002"

# By table: the columns, and their definitions.
COLUMNS: Final = {
    "users": {
        "disabled_at": "TIMESTAMP(6) NULL DEFAULT NULL",
        "disabled_until": "DATETIME(6) NULL DEFAULT NULL",
        "disabled_reason": "VARCHAR(255)",
        "is_disabled": "BOOL NOT NULL DEFAULT 0",
    },
    "sessions": {"authentication_method": "VARCHAR(16)"},
    "accounts": {"verified_email": "VARCHAR(255)"},
    "verifications": {"user_id": "VARCHAR(255) NOT NULL DEFAULT ''"},
}
# Disabled users in order of creation.
DISABLED_KEY: Final = "idx_is_disabled"
# A process of the version before meets another secret of the same kind only, which it replaces as it should.
OLD_KEY: Final = "uniq_purpose_identifier"
NEW_KEY: Final = "uniq_purpose_identifier_kind_user"
OF_USERS: Final = "idx_user_id"
USER_EVENTS: Final = """
CREATE TABLE IF NOT EXISTS user_events (
  id BIGINT NOT NULL AUTO_INCREMENT,
  seq BIGINT,
  user_id VARCHAR(255) NOT NULL,
  kind VARCHAR(32) NOT NULL,
  revision INTEGER,
  session_id VARCHAR(255),
  occurred_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
  PRIMARY KEY (id),
  UNIQUE KEY uniq_seq (seq)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    for table, columns in COLUMNS.items():
        missing = [f"ADD COLUMN {name} {kind}" for name, kind in columns.items() if name not in _columns(table)]
        if missing:
            op.execute(f"ALTER TABLE {table} {', '.join(missing)}")
    if DISABLED_KEY not in _keys("users"):
        op.execute(f"ALTER TABLE users ADD KEY {DISABLED_KEY} (is_disabled, created_at, id)")
    keys = _keys("verifications")
    if NEW_KEY not in keys:
        op.execute(f"ALTER TABLE verifications ADD UNIQUE KEY {NEW_KEY} (purpose, identifier, kind, user_id)")
    if OLD_KEY in keys:
        op.execute(f"ALTER TABLE verifications DROP KEY {OLD_KEY}")
    if OF_USERS not in keys:
        op.execute(f"ALTER TABLE verifications ADD KEY {OF_USERS} (user_id)")
    op.execute(USER_EVENTS)


def downgrade() -> None:
    op.execute("DROP TABLE IF EXISTS user_events")
    keys = _keys("verifications")
    if OLD_KEY not in keys:
        # Of several secrets for one purpose and address the older key takes one, and they live for a day at most.
        op.execute("DELETE FROM verifications")
        op.execute(f"ALTER TABLE verifications ADD UNIQUE KEY {OLD_KEY} (purpose, identifier)")
    for key in (NEW_KEY, OF_USERS):
        if key in keys:
            op.execute(f"ALTER TABLE verifications DROP KEY {key}")
    if DISABLED_KEY in _keys("users"):
        op.execute(f"ALTER TABLE users DROP KEY {DISABLED_KEY}")
    for table, columns in COLUMNS.items():
        there = [f"DROP COLUMN {name}" for name in columns if name in _columns(table)]
        if there:
            op.execute(f"ALTER TABLE {table} {', '.join(there)}")


def _columns(table: str) -> set[str]:
    if op.get_context().as_sql:
        return set()
    return {column["name"] for column in inspect(op.get_bind()).get_columns(table)}


def _keys(table: str) -> set[str]:
    if op.get_context().as_sql:
        return {OLD_KEY}
    return {str(index["name"]) for index in inspect(op.get_bind()).get_indexes(table)}
