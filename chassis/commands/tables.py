"""Tables for a terminal: aligned columns, wrapped where there is less room than they take."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

TableRow = dict[str, Any]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400
_GAP: Final = "  "
# Columns that a column of text keeps at least.
_LEAST: Final = 8
# What stands below its row, and not in it, is indented by this.
_BELOW: Final = "    "


def room() -> int | None:
    """Return the columns of the terminal; None where the output goes to a file or a program."""
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def table(rows: Sequence[TableRow], columns: int | None = None) -> list[str]:
    """Return rows as aligned lines under the names of their columns; numbers stand to the right.

    ``columns``: those of the terminal. A table that takes more is wrapped: the widest texts within their columns, and
    texts of more than half a line below their rows. None: nothing is wrapped.
    """
    names = names_of(rows)
    return _Table(
        [_head(name) for name in names],
        [[shown(name, row.get(name)) for name in names] for row in rows],
        [all(isinstance(row.get(name), int | float | None) for row in rows) for name in names],
    ).lines(columns)


def names_of(rows: Sequence[TableRow]) -> list[str]:
    """Return the names of all columns, in the order in which they come up."""
    return list(dict.fromkeys(name for row in rows for name in row))


def wrapped(text: str, columns: int | None, indent: str = "", more: str = "") -> list[str]:
    """Return a text as lines of at most so many columns, the first indented, all others by ``more`` on top."""
    if columns is None:
        return [indent + text]
    return textwrap.wrap(
        text, columns, initial_indent=indent, subsequent_indent=indent + more, break_on_hyphens=False
    ) or [indent]


@dataclass(frozen=True)
class _Table:
    heads: Sequence[str]
    cells: Sequence[Sequence[str]]
    numeric: Sequence[bool]

    def lines(self, columns: int | None) -> list[str]:
        widths = [max(map(len, column)) for column in zip(self.heads, *self.cells, strict=True)]
        if columns is None or _total(widths) <= columns:
            return [self._line(line, widths) for line in (self.heads, *self.cells)]
        below = [not number and width > columns // 2 for width, number in zip(widths, self.numeric, strict=True)]
        beside = self._of([not under for under in below])
        if (narrow := beside.narrowed(columns)) is None:
            return self._stacked(columns)
        lines = beside.wrapped_line(beside.heads, narrow)
        for whole, cells in zip(self.cells, beside.cells, strict=True):
            lines += beside.wrapped_line(cells, narrow)
            for text, under in zip(whole, below, strict=True):
                lines += wrapped(text, columns, _BELOW) if under else []
        return lines

    def _of(self, chosen: Sequence[bool]) -> _Table:
        def pick(values: Sequence[Any]) -> list[Any]:
            return [value for value, taken in zip(values, chosen, strict=True) if taken]

        return _Table(pick(self.heads), [pick(cells) for cells in self.cells], pick(self.numeric))

    def narrowed(self, columns: int) -> list[int] | None:
        """Return widths that fit; None where there are none."""
        words = [max(map(len, head.split()), default=0) for head in self.heads]
        texts = [max(map(len, column)) for column in zip(*self.cells, strict=True)]
        widths = [max(len(head), text) for head, text in zip(self.heads, texts, strict=True)]
        least = [
            max(word, text if number else min(text, _LEAST))
            for word, text, number in zip(words, texts, self.numeric, strict=True)
        ]
        while (excess := _total(widths) - columns) > 0:
            spare, at = max((width - lowest, at) for at, (width, lowest) in enumerate(zip(widths, least, strict=True)))
            if not spare:
                return None
            # No more than what makes it as narrow as the others, so that all become narrower alike.
            widths[at] -= min(spare, excess, max(1, spare // 2))
        return widths

    def wrapped_line(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        parts = [wrapped(cell, width) for cell, width in zip(cells, widths, strict=True)]
        height = max(map(len, parts))
        padded = [part + [""] * (height - len(part)) for part in parts]
        return [self._line(line, widths) for line in zip(*padded, strict=True)]

    def _line(self, cells: Sequence[str], widths: Sequence[int]) -> str:
        aligned = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, self.numeric, strict=True)
        )
        return _GAP.join(aligned).rstrip()

    def _stacked(self, columns: int) -> list[str]:
        """Return each row as lines of a name and a value, for a terminal that is too narrow for columns."""
        lines: list[str] = []
        for cells in self.cells:
            lines += [""] if lines else []
            for head, cell in zip(self.heads, cells, strict=True):
                lines += wrapped(f"{head}: {cell}", columns, more=_BELOW)
        return lines


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _head(name: str) -> str:
    for unit in ("_bytes", "_seconds"):
        name = name.removesuffix(unit)
    return name.replace("_", " ")


def shown(name: str, value: Any) -> str:
    """Return a value as a person reads it, by its column's unit."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if (format_ := _format_of(name)) is not None and isinstance(value, int | float):
        return format_(value)
    return f"{value:,}" if isinstance(value, int) else plain(value)


def plain(value: Any) -> str:
    """Return a value as text; times as RFC 3339 writes them."""
    if isinstance(value, datetime):
        # Drivers' times are naive, and in UTC.
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat(timespec="seconds")
    return str(value)


def _format_of(name: str) -> Callable[[float], str] | None:
    if name.endswith("_bytes"):
        return _bytes
    return _seconds if name.endswith("_seconds") else None


def _bytes(value: float) -> str:
    unit = 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} B" if not unit else f"{value:.1f} {_UNITS[unit]}"


def _seconds(value: float) -> str:
    if value < _MINUTE:
        return f"{value:.3g} s"
    for length, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if value >= length:
            return f"{value / length:.1f} {unit}"
    raise AssertionError("a minute is the shortest")
