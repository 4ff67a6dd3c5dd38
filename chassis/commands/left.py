"""Rows that a command went past and left as they are: counted, and the first of them named."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# Ids that are kept; of one trouble there may be millions of rows.
NAMED: Final = 20


@dataclass(slots=True)
class Left:
    """Rows that were left: how many, and the ids of the first of them."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, id_: str) -> None:
        """Count one more."""
        self.count += 1
        if self.count <= NAMED:
            self.ids.append(id_)

    def told(self, what: str, why: str) -> str:
        """Say in one line how many of ``what`` were left, and why; empty where none was."""
        if not self.count:
            return ""
        # Ids of other systems may be any text.
        ids = ", ".join(ascii(id_)[1:-1] for id_ in self.ids)
        more = f" and {self.count - len(self.ids)} more" if self.count > len(self.ids) else ""
        return f"{self.count} {what} left: {why}: {ids}{more}"
