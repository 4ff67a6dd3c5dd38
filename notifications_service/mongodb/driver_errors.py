"""Errors of MongoDB and its drivers, and their translation into those of ``chassis.errors``, which callers see.

The log gets the server's error number, never its text. All numbers: ``error_codes.yml`` in the server's source.
"""

from __future__ import annotations

from typing import Any, Final

from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
)

from chassis.context import deadline
from chassis.errors import CallDeadlineExceeded, ConflictRetry, DatabaseUnavailable
from chassis.logs import logging
from chassis.pooling.handshakes import handshake_problem
from chassis.pooling.writability import Cause

WRITE_CONFLICT: Final = 112
# The server ended the command: the limit that was sent with it had passed, or somebody killed it (`killOp`).
OUT_OF_TIME: Final = frozenset({50, 11601})
# What was at a cluster time is no longer kept, or not yet: the collection was just altered, or a majority is not known.
NO_SNAPSHOT: Final = frozenset({239, 246})
# The primary was told to refuse writes, or its disk is full (if it cannot write its own files, it stops).
REFUSING: Final[dict[int, Cause]] = {371: "read_only", 14031: "disk_full"}
# The member is starting, shutting down, stepping down or no primary, or closes its connections.
_OF_THE_MEMBER: Final = frozenset({91, 94, 189, 216, 281, 303, 10058, 10107, 11600, 11602, 13435, 13436})
# A member does not reach others, or hears of them too late.
_OF_THE_NETWORK: Final = frozenset({6, 7, 89, 133, 134, 145, 202, 279, 317, 384, 407, 9001})
# A majority did not acknowledge a write in time, or is not there.
_OF_THE_MAJORITY: Final = frozenset({64, 100})
# The command was given up for other work, or in a moment in which the server cannot carry it out.
_GIVEN_UP: Final = frozenset(
    {24, 43, 46, 90, 107, 143, 175, 237, 262, 264, 267, 290, 314, 355, 358, 365, 402, 433, 449}
)
# A shard, or the router before it, knows an old place of the data.
_OF_SHARDS: Final = frozenset({150, 203, 249, 272, 343, 406, 412, 13388})
# Errors that pass without anybody's doing.
TRANSIENT: Final = _OF_THE_MEMBER | _OF_THE_NETWORK | _OF_THE_MAJORITY | _GIVEN_UP | _OF_SHARDS
_UNAVAILABLE: Final = TRANSIENT | frozenset(REFUSING)
# By these labels the server says of any error that it passes.
_PASSING: Final = ("RetryableWriteError", "RetryableError", "SystemOverloadedError")
# Of a transaction: carried out anew, it may succeed.
TRANSIENT_TRANSACTION: Final = "TransientTransactionError"
# The server's text where a query names an index that does not exist; its code alone means any bad value.
_NO_SUCH_INDEX: Final = "hint provided does not correspond to an existing index"

log = logging.get(__name__)


def translated(error: PyMongoError) -> Exception:
    """Return the error that a caller may see for a driver's error; a defect of ours is returned unchanged."""
    found = codes(error)
    if (error.timeout and deadline.has_passed()) or _ended_by_server(error, found):
        return CallDeadlineExceeded()
    if isinstance(error, BulkWriteError):
        return _of_bulk(error, found)
    if WRITE_CONFLICT in found:
        return ConflictRetry()
    if isinstance(error, OperationFailure) and _NO_SUCH_INDEX in str((error.details or {}).get("errmsg", "")):
        log.error("the schema is not migrated", code=error.code)
        return DatabaseUnavailable()
    if _means_unavailable(error, found):
        return _unavailable(error, found)
    return ConflictRetry() if error.has_error_label(TRANSIENT_TRANSACTION) else error


def distrust(error: Exception) -> str:
    """Return why the server was not trusted, and the setting to look at; empty: it was, or nobody asked."""
    problem = handshake_problem(error)
    return f"MONGODB_URL (tls, tlsCAFile): {problem}" if problem else ""


def in_one_line(error: Exception) -> str:
    """Return what a command says of a driver's error: its kind and the server's name for it, nothing of its text."""
    name = (error.details or {}).get("codeName", "") if isinstance(error, OperationFailure) else ""
    return distrust(error) or f"{type(error).__name__} {name}".rstrip()


def of_write(code: int) -> Exception | None:
    """Return the error that a caller may see for a write of several that was refused; None: it is a defect of ours."""
    return DatabaseUnavailable() if code in _UNAVAILABLE else None


def may_pass(error: PyMongoError) -> bool:
    """Whether a read that failed so may succeed if it is sent once more, at once."""
    if error.timeout or isinstance(error, BulkWriteError):
        return False
    return isinstance(error, AutoReconnect) or bool(TRANSIENT & codes(error)) or _is_passing(error)


def codes(error: PyMongoError) -> set[int]:
    """Return the server's numbers in an error; a bulk write has one for each failed write."""
    details = getattr(error, "details", None)
    known: dict[str, Any] = details if isinstance(details, dict) else {}
    each = (known, *known.get("writeErrors", ()), *known.get("writeConcernErrors", ()))
    return {code for code in (getattr(error, "code", None), *(part.get("code") for part in each)) if code}


def _ended_by_server(error: PyMongoError, found: set[int]) -> bool:
    # The driver, too, raises 50: where too little time is left to send anything, such as after other errors.
    details = getattr(error, "details", None)
    return bool(OUT_OF_TIME & found) and isinstance(details, dict) and "codeName" in details


def _of_bulk(error: BulkWriteError, found: set[int]) -> Exception:
    # Written, but not by a majority before the primary stepped down: it may be rolled back.
    unknown = error.details.get("writeConcernErrors")
    nothing_written = not error.details.get("nInserted")
    return DatabaseUnavailable() if unknown or (nothing_written and _UNAVAILABLE & found) else error


def _means_unavailable(error: PyMongoError, found: set[int]) -> bool:
    # A full wait queue, no primary in time, and a broken connection are all ConnectionFailures; a name server that
    # does not answer is a ConfigurationError, since the settings were looked at when the client was made.
    if isinstance(error, ConnectionFailure | ConfigurationError) or error.timeout:
        return True
    return bool(_UNAVAILABLE & found) or _is_passing(error)


def _unavailable(error: PyMongoError, found: set[int]) -> DatabaseUnavailable:
    told = DatabaseUnavailable()
    if problem := distrust(error):
        # For the log and for whoever runs a command; callers do not get it.
        told.add_note(problem)
        log.warning("database unavailable", kind=_kind(error), problem=problem)
    else:
        log.warning("database unavailable", kind=_kind(error), code=next(iter(found), None))
    return told


def _is_passing(error: PyMongoError) -> bool:
    return any(error.has_error_label(label) for label in _PASSING)


def _kind(error: PyMongoError) -> str:
    # Of a name that was not found, what the resolver raised says more.
    return type(error.__cause__ if isinstance(error, ConfigurationError) and error.__cause__ else error).__name__
