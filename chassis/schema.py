"""The schema check: what a database lacks of the schema that this version of the code needs.

A server does not serve a database that is older than its code, because calls would fail. It serves one that is equal or
newer.
"""

from __future__ import annotations

from dataclasses import dataclass


class SchemaLacking(Exception):
    """The schema of the database is not the one that this version needs; the text is one line that is safe to log."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """The state of a database's schema, as seen by this version; migrations by number or title, oldest first.

    ``unknown``: migrations of a newer version, which the database has and this version does not know. ``missing``:
    tables, columns and indexes that this version's statements need, and the database does not have.
    """

    applied: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def newer(self) -> bool:
        """Whether a newer version has migrated the database."""
        return bool(self.unknown)

    def problem(self, service: str) -> str:
        """Return why this version cannot serve the database, and the command that helps; empty where it can."""
        cure = f"run `{service} migrate up`"
        if self.newer and self.missing:
            return (
                f"the schema is newer than this version ({listed(self.unknown)}) and lacks what this version needs: "
                f"{listed(self.missing)}"
            )
        if self.newer:
            return ""
        if not self.applied:
            return f"the schema is not migrated: {cure}"
        if self.pending:
            return f"the schema is older than this version, without {listed(self.pending)}: {cure}"
        return f"the schema lacks {listed(self.missing)}: {cure}" if self.missing else ""

    def require(self, service: str) -> None:
        """Raise SchemaLacking where there is a problem."""
        if problem := self.problem(service):
            raise SchemaLacking(problem)


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
