"""Unreadable rows, which other systems wrote: each is an error of its own, and does not affect other rows.

Impossible times arrive as the server writes them, text that is no UTF-8 as bytes or with marks (``driver_text``), and a
column that somebody altered with values of another type. So whoever reads a row checks its values, and raises
``RecordUnreadable`` for this row alone. Lists leave such rows out, and continue after them (``paging``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from chassis.logs import logging
from users_service.errors import RecordUnreadable

R = TypeVar("R")
T = TypeVar("T")

# Errors of converting an unexpected value.
UNFIT: Final = (TypeError, ValueError, AttributeError)


def as_text(value: Any) -> str:
    """Return a text, which the driver may not have decoded. Raises one of ``UNFIT`` for text that is no UTF-8."""
    if type(value) is bytes:
        return value.decode()
    if not value.isascii():
        # Fails for the marks of wrong bytes, which are no characters.
        value.encode()
    return str(value)


def as_integer(value: Any) -> int:
    """Return a whole number. Raises TypeError for anything else."""
    if type(value) is not int:
        raise TypeError
    return value


def key(value: Any) -> str:
    """Return the key of a row as text; wrong bytes get marks, so that it equals no valid key."""
    return str(value, "utf-8", "surrogateescape") if type(value) is bytes else str(value)


def unreadable(table: str, id_: Any, problem: BaseException) -> RecordUnreadable:
    """Return the error of a row, and log the id of the row without any of its values."""
    shown = key(id_).encode("ascii", "backslashreplace").decode()
    logging.get(__name__).error("stored row unreadable", table=table, id=shown, problem=type(problem).__name__)
    return RecordUnreadable()


def or_error(read: Callable[[R], T], row: R) -> T | RecordUnreadable:
    """Return the object that a row stands for, or the error for callers who asked for this row."""
    try:
        return read(row)
    except RecordUnreadable as error:
        return error


def readable(read: Callable[[R], T], rows: Iterable[R]) -> list[T]:
    """Return the objects that rows stand for, without rows that cannot be read."""
    return [found for row in rows if not isinstance(found := or_error(read, row), RecordUnreadable)]
