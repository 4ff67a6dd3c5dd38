"""The first steps of an adoption: what is there is checked, and noted; tables that bear names of ours are put aside."""

from __future__ import annotations

from collections.abc import Sequence

from alembic.script import Script
from sqlalchemy import Connection

from chassis.keyring import Keyring
from chassis.settings import WrongSetting
from users_service.accounts.tokens import TokenCipher
from users_service.migrations import rehearsal
from users_service.migrations.adoption import checks, origins, progress
from users_service.migrations.adoption.origins import ASIDE, SOURCE, Origin


def prepare(connection: Connection, scripts: Sequence[Script], keyring: Keyring | None) -> None:
    """Begin an adoption where tables to adopt are there, or go on with one; nothing where there are none.

    Raises ForeignTable, CannotAdopt or WrongSetting before anything is changed.
    """
    begun = progress.origin(connection)
    if begun is None:
        origin = origins.recognise(connection)
        rehearsal.refuse_foreign_tables(connection, scripts, origin.tables if origin else frozenset())
        if origin is None:
            return
        checks.check(connection, origin, cipher(keyring, origin.title))
        progress.begin(connection, origin)
        begun = origin.name
    _put_aside(connection, next(each for each in origins.ORIGINS if each.name == begun))


def cipher(keyring: Keyring | None, title: str = "another system") -> TokenCipher:
    """Return what encrypts tokens. Raises WrongSetting."""
    if keyring is None:
        raise WrongSetting(
            f"SECRET_KEYS is missing, under which provider tokens in the tables of {title} are encrypted"
        )
    return TokenCipher(keyring)


def put_back(connection: Connection) -> list[str]:
    """Give tables that were put aside their names back, where none of ours is there; return the names."""
    found = origins.columns(connection)
    names = [name for name in SOURCE.tables if ASIDE + name in found]
    if not names or SOURCE.tables & found.keys():
        return []
    _rename(connection, [(ASIDE + name, name) for name in sorted(names)])
    return sorted(names)


def _put_aside(connection: Connection, origin: Origin) -> None:
    """Rename the tables that bear names of ours, in one statement; those that were renamed are passed over."""
    found = origins.columns(connection)
    left = [name for name in origin.ours if name in found and not origins.is_ours(origin, name, found)]
    if left:
        _rename(connection, [(name, ASIDE + name) for name in left])


def _rename(connection: Connection, pairs: Sequence[tuple[str, str]]) -> None:
    connection.exec_driver_sql(f"RENAME TABLE {', '.join(f'`{old}` TO `{new}`' for old, new in pairs)}")
