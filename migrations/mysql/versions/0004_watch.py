"""Watching users: when an event got its place in the order, and which history a resume token is of.

The one row of the new table is written by the first server that looks.

Every step looks first whether it is done, so a revision that was cut off may be run again.
"""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import inspect

revision = "0004"
down_revision = "0003"

COLUMN: Final = "sequenced_at"
EVENT_SEQUENCE: Final = """
CREATE TABLE IF NOT EXISTS event_sequence (
  id INTEGER NOT NULL,
  epoch BINARY(16) NOT NULL,
  purged BIGINT NOT NULL DEFAULT 0,
  PRIMARY KEY (id)
) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin
"""


def upgrade() -> None:
    if not _is_there():
        op.execute(f"ALTER TABLE user_events ADD COLUMN {COLUMN} TIMESTAMP(6) NULL DEFAULT NULL")
    op.execute(EVENT_SEQUENCE)


def downgrade() -> None:
    op.execute("DROP TABLE IF EXISTS event_sequence")
    if _is_there():
        op.execute(f"ALTER TABLE user_events DROP COLUMN {COLUMN}")


def _is_there() -> bool:
    if op.get_context().as_sql:
        return False
    return any(column["name"] == COLUMN for column in inspect(op.get_bind()).get_columns("user_events"))
