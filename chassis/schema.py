"""What a database lacks of the schema that this version needs, in words that both services use.

A database that is older than the code is not served: calls would fail. One that is equal or newer is.
"""

from __future__ import annotations

from dataclasses import dataclass


class SchemaLacking(Exception):
    """The database answers, and cannot serve this version; one line, safe to log, that names what is missing."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Where a database stands, as seen by this version; migrations by their numbers or titles, oldest first.

    ``unknown``: migrations that it has and this version does not know, since a newer one carried them out.
    ``missing``: what this version's statements name, or rely on, and the database does not have.
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
        """Return what keeps this version from serving, and the command that helps; empty where nothing does."""
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
