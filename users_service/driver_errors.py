"""What MySQL's and the driver's errors mean. They end here: callers see the errors of ``chassis.errors``.

The log has the server's error number, never a statement or its values.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncmy.errors
from sqlalchemy import exc

from chassis import deadline, logging
from chassis.errors import CallDeadlineExceeded, ConflictRetry, DatabaseUnavailable

DUPLICATE_KEY = 1062
FOREIGN_KEY_MISSING = 1452
LOCK_WAIT_TIMEOUT = 1205
DEADLOCK = 1213
STATEMENT_TIMEOUTS = frozenset({1969, 3024})  # MariaDB's and MySQL's own limit on a statement
# The server takes no writes: it is not the primary, or not any more.
READ_ONLY = frozenset({1290, 1836})
DENIED = frozenset({1044, 1142, 1143, 1227})  # to a database, table or column; or a right is missing
NOT_MIGRATED = frozenset({1146, 1054})  # a table, or a column, is missing

# asyncmy's words where the server resets a connection before it is set up.
RESET_WHILE_CONNECTING = "Transport does not expose socket instance"

UNAVAILABLE = (
    exc.OperationalError,
    exc.InterfaceError,
    exc.TimeoutError,
    asyncmy.errors.OperationalError,
    asyncmy.errors.InterfaceError,
    OSError,
)

log = logging.get(__name__)


def error_number(error: BaseException | None) -> int:
    """Return the MySQL error number of a driver error, also where SQLAlchemy wrapped it; 0 where there is none."""
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    number = origin.args[0] if origin is not None and origin.args else 0
    return number if isinstance(number, int) else 0


def duplicate_key(error: exc.IntegrityError) -> str:
    """Return the name of the unique key that a row would break; empty for another kind of integrity error."""
    if error_number(error) != DUPLICATE_KEY:
        return ""
    # MySQL says 'table.key', MariaDB 'key'; both quote it at the end of the message.
    message = str(error.orig.args[1]) if error.orig is not None else ""
    return message.rstrip("'").rsplit("'", 1)[-1].rsplit(".", 1)[-1]


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver and the pool raise into errors that callers may see; integrity errors pass."""
    try:
        yield
    except exc.IntegrityError:
        raise
    except TimeoutError as error:
        raise _timed_out() from error
    except (exc.SQLAlchemyError, asyncmy.errors.MySQLError, OSError) as error:
        raise _translate(error) from error
    except RuntimeError as error:
        if str(error) != RESET_WHILE_CONNECTING:
            raise
        raise DatabaseUnavailable from error


def _timed_out() -> Exception:
    return CallDeadlineExceeded() if deadline.has_passed() else DatabaseUnavailable()


def _translate(error: Exception) -> Exception:
    number = error_number(error)
    if number in (DEADLOCK, LOCK_WAIT_TIMEOUT):
        return ConflictRetry()
    if number in NOT_MIGRATED:
        log.error("the schema is not migrated", number=number)
        return DatabaseUnavailable()
    if isinstance(error, UNAVAILABLE) or (isinstance(error, exc.DBAPIError) and error.connection_invalidated):
        log.warning("database unavailable", number=number, kind=type(error).__name__)
        return DatabaseUnavailable()
    return error
