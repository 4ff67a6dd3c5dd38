"""Rows that this service cannot read, because others wrote them: their trouble stays their own.

Times that do not exist arrive as the server writes them, text that is no UTF-8 as bytes or with marks
(``driver_text``), and a column that somebody altered as whatever it holds now. Whoever reads a row therefore checks
what it takes, and raises ``RecordUnreadable`` for this row alone. Lists leave such rows out, and go on behind them
(``paging``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from chassis.logs import logging
from users_service.errors import RecordUnreadable

R = TypeVar("R")
T = TypeVar("T")

# What converting a value that should not be there raises.
UNFIT: Final = (TypeError, ValueError, AttributeError)


def as_text(value: Any) -> str:
    """Return a text as the driver gives it, decoded or not. Raises one of ``UNFIT`` for what no client could read."""
    if type(value) is bytes:
        return value.decode()
    if not value.isascii():
        # The marks of wrong bytes are no characters.
        value.encode()
    return str(value)


def as_integer(value: Any) -> int:
    """Return a whole number. Raises TypeError for anything else."""
    if type(value) is not int:
        raise TypeError
    return value


def key(value: Any) -> str:
    """Return the text by which a row was asked for; wrong bytes get marks, so that it is nobody else's."""
    return str(value, "utf-8", "surrogateescape") if type(value) is bytes else str(value)


def unreadable(table: str, id_: Any, problem: BaseException) -> RecordUnreadable:
    """Return the error of a row, and name the row in the log: by its id, without any of its values."""
    shown = key(id_).encode("ascii", "backslashreplace").decode()
    logging.get(__name__).error("stored row unreadable", table=table, id=shown, problem=type(problem).__name__)
    return RecordUnreadable()


def or_error(read: Callable[[R], T], row: R) -> T | RecordUnreadable:
    """Return what a row says, or the error for whoever asked for this row."""
    try:
        return read(row)
    except RecordUnreadable as error:
        return error


def readable(read: Callable[[R], T], rows: Iterable[R]) -> list[T]:
    """Return what rows say, without those that cannot be read."""
    return [found for row in rows if not isinstance(found := or_error(read, row), RecordUnreadable)]
