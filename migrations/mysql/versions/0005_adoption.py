"""Adoption: copies the rows of another system's tables, where `migrate up` has found and checked some.

In batches, each with a note of how far it came, so a revision that was cut off goes on there. Until it is recorded,
health says that the schema is not complete, so nobody is served from half of the users.
"""

from __future__ import annotations

from typing import Final

from alembic import op

from users_service.migrations.adoption import copying, preparing, progress

revision = "0005"
down_revision = "0004"

KEYRING: Final = "keyring"
SAY: Final = "say"


def upgrade() -> None:
    context = op.get_context()
    if context.as_sql or progress.origin(op.get_bind()) is None:
        return
    given = context.config.attributes if context.config else {}
    copying.adopt(op.get_bind(), preparing.cipher(given.get(KEYRING)), given.get(SAY, print))


def downgrade() -> None:
    """Leave the rows: the tables go with the revision that made them."""
