"""Reports on a database, as tables and as JSON: sections that each have rows, or the reason why they have none.

The JSON is ``{"service", "at", "ok", "problems": […], "not_looked_at": {name: […]}, "sections": {name: section}}``. A
section is ``{"available": true, "rows": [{…}], "notes": […]}``, each row with all columns, or ``{"available": false,
"reason": "…"}``; ``not_looked_at`` repeats the reasons and those of the notes that say what a section lacks. Names of
sections and columns are stable; more may be added. A column's name ends with its unit (``_bytes``, ``_seconds``,
``_ms``), or with ``_estimate`` where nothing was counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Final

from chassis.clock import utc_now

ReportRow = dict[str, Any]

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class NotAvailable(Exception):
    """A section is not available; the text says why, and how to enable it."""


@dataclass(frozen=True, slots=True)
class Section:
    """One section: rows with the same columns, or the reason why there are none."""

    name: str
    rows: Sequence[ReportRow] = ()
    notes: Sequence[str] = ()
    # Empty where the section is available.
    reason: str = ""
    # What of the section was not looked at, and why; notes, too.
    missing: Sequence[str] = ()

    @property
    def not_looked_at(self) -> list[str]:
        """What was not looked at, and why: the whole section, or parts of it."""
        return [self.reason] if self.reason else list(self.missing)

    def as_json(self) -> ReportRow:
        """Return the section as documented above."""
        if self.reason:
            return {"available": False, "reason": self.reason}
        columns = _columns(self.rows)
        rows = [{name: row.get(name) for name in columns} for row in self.rows]
        return {"available": True, "rows": rows, "notes": [*self.notes, *self.missing]}


@dataclass(slots=True)
class Report:
    """The sections, and ``problems`` that somebody has to solve."""

    service: str
    sections: list[Section] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def as_json(self) -> str:
        """Return the report as documented above."""
        report = {
            "service": self.service,
            "at": utc_now().isoformat(timespec="seconds"),
            "ok": self.ok,
            "problems": self.problems,
            "not_looked_at": {section.name: found for section in self.sections if (found := section.not_looked_at)},
            "sections": {section.name: section.as_json() for section in self.sections},
        }
        return json.dumps(report, indent=2, default=_plain)

    def as_text(self) -> str:
        """Return the report as tables for a person."""
        parts = ["\n".join(_section_lines(section)) for section in self.sections]
        return "\n\n".join([*parts, "\n".join(self._verdict())])

    def _verdict(self) -> list[str]:
        """Return what was not looked at, and the problems; that there are none is only said of what was looked at."""
        unseen = [
            f"not looked at: {section.name.replace('_', ' ')}: {why}"
            for section in self.sections
            for why in section.not_looked_at
        ]
        good = "no problem found in what was looked at" if unseen else "no problem found"
        return [*unseen, *([f"problem: {problem}" for problem in self.problems] or [good])]


def version_of(distribution: str) -> str:
    """Return the version of an installed package; ``unknown`` of one that runs from its sources."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "unknown"


def table(rows: Sequence[ReportRow]) -> list[str]:
    """Return rows as aligned lines under the names of their columns; numbers stand to the right."""
    columns = _columns(rows)
    cells = [[shown(name, row.get(name)) for name in columns] for row in rows]
    numeric = [all(isinstance(row.get(name), int | float | None) for row in rows) for name in columns]
    heads = [_head(name) for name in columns]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    return [_line(line, widths, numeric) for line in (heads, *cells)]


def _columns(rows: Sequence[ReportRow]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    aligned = (
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, numeric, strict=True)
    )
    return "  ".join(aligned).rstrip()


def _section_lines(section: Section) -> list[str]:
    head = section.name.replace("_", " ")
    if section.reason:
        return [head, f"  not available: {section.reason}"]
    lines = table(section.rows) if section.rows else []
    notes = [*section.notes, *section.missing]
    return [head, *(f"  {line}" for line in lines), *(f"  ({note})" for note in notes)]


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
    return f"{value:,}" if isinstance(value, int) else str(_plain(value))


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


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        # Drivers' times are naive, and in UTC.
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat(timespec="seconds")
    return str(value)
