"""Runs revisions on the connection that ``users_service.migrations.runner`` hands over.

Alembic calls it for each command.
"""

from __future__ import annotations

from alembic import context

from users_service.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # MySQL commits each DDL statement by itself, so each revision is recorded as soon as it is done.
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
