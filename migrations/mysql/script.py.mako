"""${message}.

A revision may be cut off in its middle and run again: MySQL cannot roll DDL back. Write statements that bear that.

What a big table bears is in docs/migrations.md: one index or column a revision, which the server adds online
(`op.create_index("idx_name", "users", ["name"])`, `op.add_column`), and rows in batches
(`migrations.mysql.backfill.backfill(op.get_bind(), "users", "nick = name", "nick IS NULL")`). What would lock a table of
over a million rows is refused.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from migrations.mysql.backfill import backfill

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade() -> None:
    ${upgrades if upgrades else 'pass'}


def downgrade() -> None:
    ${downgrades if downgrades else 'pass'}
