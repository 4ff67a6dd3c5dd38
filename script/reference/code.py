"""Lays out an expression of Python: on one line where it fits, else an argument a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 100
STEP: Final = 4


@dataclass(frozen=True)
class Code:
    """A text, or brackets with what is in them."""

    begins: str
    parts: Sequence[tuple[str, Code]] = ()
    ends: str = ""

    def laid_out(self, indent: int = 0, taken: int = 0) -> str:
        """Return the text. ``taken``: characters that stand before and behind it on its line."""
        line = self.on_one_line()
        if not self.parts or indent + taken + len(line) <= WIDTH:
            return line
        margin = " " * (indent + STEP)
        lines = [f"{margin}{name}{part.laid_out(indent + STEP, len(name) + 1)}," for name, part in self.parts]
        return "\n".join([self.begins, *lines, " " * indent + self.ends])

    def on_one_line(self) -> str:
        """Return the text as one line, however long."""
        return self.begins + ", ".join(name + part.on_one_line() for name, part in self.parts) + self.ends
