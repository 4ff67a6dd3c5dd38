"""Errors of MySQL and of the driver, and their translation into those of ``chassis.errors``, which callers see.

The log gets the server's error number, never a statement or its values.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import asyncmy.errors
from sqlalchemy import exc

from chassis.context import deadline, statements
from chassis.errors import CallDeadlineExceeded, ConflictRetry, DatabaseUnavailable
from chassis.logs import logging
from chassis.pooling.handshakes import handshake_problem
from users_service.errors import RecordUnreadable

DUPLICATE_KEY = 1062
FOREIGN_KEY_MISSING = 1452
REFERRED_TO = 1451  # by a foreign key of another table
LOCK_WAIT_TIMEOUT = 1205
DEADLOCK = 1213
TOO_LONG = 1406
STATEMENT_TIMEOUTS = frozenset({1969, 3024})  # MariaDB's and MySQL's own limit on a statement
# The server ended the statement: its limit had passed, or somebody killed it (`KILL QUERY`).
_OUT_OF_TIME = STATEMENT_TIMEOUTS | {1317}
# The server takes no writes: it is not the primary (any more), or was started read-only.
READ_ONLY = frozenset({1036, 1290, 1792, 1836, 1874, 1881, 3100})
# There is no room to write: in a table, on the disk, for a temporary file, for the binary log.
DISK_FULL = frozenset({3, 20, 1021, 1026, 1030, 1114, 1598})
# The server, or its node of a cluster, serves nobody now.
GONE = frozenset({1040, 1047, 1053, 1077, 1079, 1080, 1129, 1203, 3032, 3168})
# The server ended this one connection, or lost track of it.
BROKEN = frozenset({1043, *range(1152, 1162), 1184, 1927, 3169, 4031})
# The driver found the connection broken.
LOST = frozenset({2006, 2013, 2055})
# The statement is larger than the server takes; it ends the connection, but the next one would fare no better.
TOO_LARGE = 1153
# The server is short of something for now: memory, threads, locks, files, what an account may use in an hour.
_SHORT = frozenset({1015, 1016, 1023, 1024, 1028, 1037, 1038, 1041, 1042, 1135, 1180, 1181, 1206, 1226, 1296, 1297})
# To a database, or to the server: the account or the database is not there (yet), or its password is another one.
_NOT_LET_IN = frozenset({1044, 1045, 1049, 1130, 1251, 1524, 1698, 1820, 1862, 3118})
# What proxies say where the server behind them is away, beside numbers of their own.
_UNKNOWN = frozenset({1105})
# Numbers of the servers themselves; proxies and other systems that speak their language have higher ones.
_OF_THE_SERVERS = (range(1_000, 2_000), range(3_000, 6_000))
# All of the driver's own numbers are about the connection.
_OF_THE_CLIENT = range(2000, 3000)
_ENDING_ALL = READ_ONLY | GONE | LOST
_ENDING = _ENDING_ALL | BROKEN
DENIED = frozenset({1044, 1142, 1143, 1227})  # to a database, table or column; or a right is missing
NO_SUCH_TABLE = 1146
# A table, a column, or an index that a statement names is missing.
NOT_MIGRATED = frozenset({NO_SUCH_TABLE, 1054, 1176})
# The binary log is kept by statement, which no write of a READ COMMITTED transaction allows.
BINLOG_FORMAT = 1665
_PASSING = READ_ONLY | DISK_FULL | GONE | BROKEN | _SHORT | _NOT_LET_IN | _UNKNOWN

PRIMARY = "PRIMARY"
# The key in the words of MySQL ('table.key') and MariaDB ('key'), which end with it: what comes before is the caller's.
_LAST_WORD = re.compile(r"'([^']*)'\Z")
# In those of Vitess, which goes on behind MySQL's with the statement and its values.
_PASSED_ON = re.compile(rf"for key '([^']*)' \(errno {DUPLICATE_KEY}\) \(sqlstate 23000\)")
_BEHIND_VITESS = re.compile(r" desc = (.*?) \(errno \d+\) \(sqlstate \w+\)", re.DOTALL)
_OF_VITESS = ("vttablet:", "BindVars:")

# asyncmy's text where the server resets a connection before it is set up.
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


class TextUnreadable(RecordUnreadable):
    """The text of some row is no UTF-8; the driver does not say of which."""


class NothingSent(Exception):
    """Raised instead of sending a statement, so the connection is unchanged."""


def ends_connection(error: BaseException | None) -> bool:
    """Whether the connection that raised this must not be used again.

    It may be used again only where the error concerns the statement alone. After an error of the driver an answer may
    still be unread, and after an error about the server itself the next statement would fail, too.
    """
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    if not isinstance(origin, asyncmy.errors.MySQLError):
        return not isinstance(origin, NothingSent)
    number = error_number(error)
    # Errors that the driver finds, such as packets out of order, have no number.
    return number < 1_000 or number in _OF_THE_CLIENT or number in _ENDING


def error_number(error: BaseException | None) -> int:
    """Return the MySQL error number of a driver error, also where SQLAlchemy wrapped it; 0 where there is none."""
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    number = origin.args[0] if origin is not None and origin.args else 0
    return number if isinstance(number, int) else 0


def distrust(error: Exception) -> str:
    """Return why the server was not trusted, and the settings to look at; empty: it was, or nobody asked."""
    problem = handshake_problem(error)
    return f"MYSQL_TLS, MYSQL_TLS_CA_FILE: {problem}" if problem else ""


def finds_dead(error: BaseException | None) -> bool:
    """Whether the connection turned out dead: the server had ended it, the way was cut, or both sides are out of step.

    A read may then be sent once more, on a connection opened since: what ended this one may have ended others.
    """
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    broken = isinstance(origin, asyncmy.errors.MySQLError | ConnectionError | EOFError)
    return broken and ends_connection(error) and error_number(error) != TOO_LARGE


def ends_all_connections(error: BaseException | None) -> bool:
    """Whether the error concerns the server itself, and with it every connection opened until now."""
    number = error_number(error)
    return ends_connection(error) and number in _ENDING_ALL


def words(error: BaseException | None) -> str:
    """Return the server's own words; of what Vitess passes on, MySQL's, without the statement and its values."""
    origin = error.orig if isinstance(error, exc.DBAPIError) else error
    said = str(origin.args[1]) if origin is not None and len(origin.args) > 1 else ""
    if not any(mark in said for mark in _OF_VITESS):
        return said
    found = _BEHIND_VITESS.search(said)
    return found[1] if found else ""


def numbered(error: BaseException, telling: Collection[int]) -> str:
    """Return "error" with the number, and the server's own words where the number is one of those ``telling``."""
    number = error_number(error)
    said = words(error) if number in telling else ""
    return f"error {number} ({said})" if said else f"error {number}"


def duplicate_key(error: exc.IntegrityError) -> str:
    """Return the name of the unique key that a row would break; empty for another kind of integrity error.

    A primary key comes with its table where the server names it: ``email_lookup.PRIMARY``.
    """
    if error_number(error) != DUPLICATE_KEY:
        return ""
    message = str(error.orig.args[1]) if error.orig is not None else ""
    found = _LAST_WORD.search(message) or _PASSED_ON.search(message)
    name = found[1] if found else ""
    table, _, key = name.rpartition(".")
    return name if table and key == PRIMARY else key


@contextmanager
def translated(*, reading: bool = False) -> Iterator[None]:
    """Turn errors of the driver and the pool into errors that callers may see.

    Integrity errors pass, and whatever would be the same the next time. ``reading``: outside of a transaction, where
    nothing is waited for but a change of the schema.
    """
    try:
        yield
    except exc.IntegrityError:
        raise
    except TimeoutError as error:
        raise _timed_out() from error
    except (exc.SQLAlchemyError, asyncmy.errors.MySQLError, OSError) as error:
        raise _translate(error, reading) from error
    except UnicodeDecodeError as error:
        # Without the text of the error, which contains the bytes.
        log.warning("stored row unreadable", problem=type(error).__name__, statement=statements.current())
        raise TextUnreadable from None
    except RuntimeError as error:
        if str(error) != RESET_WHILE_CONNECTING:
            raise
        raise DatabaseUnavailable from error


def _timed_out() -> Exception:
    return CallDeadlineExceeded() if deadline.has_passed() else DatabaseUnavailable()


def _of_the_server(error: Exception) -> bool:
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated
    return isinstance(error, asyncmy.errors.MySQLError) and ends_connection(error)


def _translate(error: Exception, reading: bool) -> Exception:
    number = error_number(error)
    if number in (DEADLOCK, LOCK_WAIT_TIMEOUT) and not reading:
        return ConflictRetry()
    if number in _OUT_OF_TIME:
        return CallDeadlineExceeded()
    if number in NOT_MIGRATED:
        log.error("the schema is not migrated", number=number)
        return DatabaseUnavailable()
    if _is_permanent(number):
        log.error("the database refuses a statement for good", number=number, statement=statements.current())
        return error
    if isinstance(error, UNAVAILABLE) or _of_the_server(error):
        return _unavailable(error, number)
    return error


def _unavailable(error: Exception, number: int) -> DatabaseUnavailable:
    told = DatabaseUnavailable()
    if problem := distrust(error):
        # For the log and for whoever runs a command; callers do not get it.
        told.add_note(problem)
        log.warning("database unavailable", number=number, kind=type(error).__name__, problem=problem)
    else:
        log.warning("database unavailable", number=number, kind=type(error).__name__)
    return told


def _is_permanent(number: int) -> bool:
    """Whether a person has to act before a statement can succeed: whoever tries again is refused again."""
    known = any(number in numbers for numbers in _OF_THE_SERVERS)
    return number == TOO_LARGE or (known and number not in _PASSING and number not in (DEADLOCK, LOCK_WAIT_TIMEOUT))
