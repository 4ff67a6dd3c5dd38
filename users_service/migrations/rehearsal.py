"""Dry run of a revision: its statements are recorded instead of sent, and checked before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from sqlalchemy import Connection

from users_service.migrations import losses, table_definitions

# Better Auth, another system, calls the same tables by the singular.
_PLURAL: Final = "s"


class _Sent:
    """Takes what Alembic writes in its offline mode: one statement at a time."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def write(self, text: str) -> None:
        """Take a statement."""
        self.statements.append(text.strip().removesuffix(";"))

    def flush(self) -> None:
        """Do nothing: what was taken is there."""


def statements(connection: Connection, work: Callable[[], None]) -> list[str]:
    """Return the statements that a revision's function sends, up to the first that depends on stored data.

    Later statements are checked in the same way when they are sent.
    """
    sent = _Sent()
    context = MigrationContext.configure(dialect=connection.dialect, opts={"as_sql": True, "output_buffer": sent})
    # A revision may fail here for want of a connection (`op.get_bind()`); a real failure is reported when it runs.
    with Operations.context(context), suppress(Exception):
        work()
    return sent.statements


def refuse_foreign_tables(
    connection: Connection, scripts: Sequence[Script], adopted: frozenset[str] = frozenset()
) -> None:
    """Raise ForeignTable where revisions would mistake tables of another application for their own.

    ``adopted``: tables that are known to be another system's, and will not be in the way.
    """
    there = table_definitions.tables(connection) - adopted
    sent = [statement for script in scripts for statement in statements(connection, script.module.upgrade)]
    made = [name for statement in sent for name in table_definitions.created(statement)]
    if alike := sorted(there & {name.removesuffix(_PLURAL) for name in made} - set(made)):
        raise table_definitions.ForeignTable(alike[0], f"this service calls its own {alike[0]}{_PLURAL}")
    for statement in sent:
        if not adopted.intersection(table_definitions.created(statement)):
            table_definitions.compare(connection, statement)


def refuse_losses(connection: Connection, scripts: Sequence[Script]) -> None:
    """Raise WouldLose where downgrading revisions would drop tables that hold rows."""
    sent = [statement for script in scripts for statement in statements(connection, script.module.downgrade)]
    losses.refuse(connection, [name for statement in sent for name in losses.dropped(statement)])
