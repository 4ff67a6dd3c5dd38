"""Reports on a database, as tables and as JSON: sections that each have rows, or the reason why they have none.

The JSON is ``{"service", "at", "ok", "problems": […], "not_looked_at": {name: […]}, "sections": {name: section}}``. A
section is ``{"available": true, "rows": [{…}], "notes": […]}``, each row with all columns, or ``{"available": false,
"reason": "…"}``; ``not_looked_at`` repeats the reasons and those of the notes that say what a section lacks. Names of
sections and columns are stable; more may be added. A column's name ends with its unit (``_bytes``, ``_seconds``,
``_ms``), or with ``_estimate`` where nothing was counted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Final

from chassis.clock import utc_now
from chassis.commands.tables import TableRow, names_of, plain, table, wrapped

ReportRow = TableRow

_INDENT: Final = "  "


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
        columns = names_of(self.rows)
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
        return json.dumps(report, indent=2, default=plain)

    def as_text(self, columns: int | None = None) -> str:
        """Return the report as tables for a person; ``columns``: those of the terminal, None: as many as it takes."""
        parts = ["\n".join(_section_lines(section, columns)) for section in self.sections]
        verdict = [line for said in self._verdict() for line in wrapped(said, columns, more=_INDENT)]
        return "\n\n".join([*parts, "\n".join(verdict)])

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


def _section_lines(section: Section, columns: int | None) -> list[str]:
    head = section.name.replace("_", " ")
    if section.reason:
        return [head, *wrapped(f"not available: {section.reason}", columns, _INDENT)]
    lines = table(section.rows, columns and columns - len(_INDENT)) if section.rows else []
    notes = [line for note in (*section.notes, *section.missing) for line in wrapped(f"({note})", columns, _INDENT)]
    return [head, *(f"{_INDENT}{line}".rstrip() for line in lines), *notes]
