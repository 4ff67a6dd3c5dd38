"""Users by their last change: an index in the order in which whoever follows changes reads them.

The server builds it beside reads and writes. A revision that was cut off after that finds it when it is run again.
"""

from __future__ import annotations

from typing import Final

from alembic import op
from sqlalchemy import inspect

revision = "0002"
down_revision = "0001"

NAME: Final = "idx_updated_at"
COLUMNS: Final = ["updated_at", "id"]


def upgrade() -> None:
    if not _is_there():
        op.create_index(NAME, "users", COLUMNS)


def downgrade() -> None:
    if _is_there():
        op.drop_index(NAME, "users")


def _is_there() -> bool:
    """Say whether the index exists; one of the same name over other columns does not count, and is in the way."""
    if op.get_context().as_sql:
        return False
    return any(
        index["name"] == NAME and index["column_names"] == COLUMNS
        for index in inspect(op.get_bind()).get_indexes("users")
    )
