"""Reading SQL text as this service writes it: a statement ends where a line ends with a semicolon.

Memory holds no more of a file than the longest statement takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

# Backups begin another statement after 512 KiB; a MEDIUMBLOB, the largest column that there is, takes 32 MiB as text.
LONGEST_BYTES: Final = 33 << 20
# A backup has only these statements; others are refused.
_BEGINNINGS: Final = (b"SET ", b"CREATE TABLE ", b"INSERT INTO ")


class NoStatement(Exception):
    """The text is not what a backup writes; the message says why."""


class StatementReader:
    """Takes SQL text in pieces, and gives back its statements one after the other, without their semicolons.

    Comments and empty lines are left out.
    """

    def __init__(self) -> None:
        self._lines: list[bytes] = []
        self._line: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """Take the next piece and give back the statements that end in it. Raises ``NoStatement``."""
        first, *others = piece.split(b"\n")
        self._begin(first)
        for other in others:
            yield from self._end_line()
            self._begin(other)

    def end(self) -> None:
        """Raise ``NoStatement`` where the text ends within a statement."""
        if self._lines or any(self._line):
            raise NoStatement("it ends within a statement")

    def _begin(self, text: bytes) -> None:
        self._line.append(text)
        self._size += len(text)
        if self._size > LONGEST_BYTES:
            raise NoStatement("a statement is too long")

    def _end_line(self) -> Iterator[str]:
        line = b"".join(self._line) + b"\n"
        self._line = []
        if not self._lines and (not line.strip() or line.startswith(b"--")):
            self._size = 0
            return
        self._lines.append(line)
        if line.endswith(b";\n"):
            text = b"".join(self._lines)[:-2]
            self._lines, self._size = [], 0
            yield _statement(text)


def statements(pieces: Iterable[bytes]) -> Iterator[str]:
    """Give back the statements of a text. Raises ``NoStatement``."""
    reader = StatementReader()
    for piece in pieces:
        yield from reader.feed(piece)
    reader.end()


def _statement(text: bytes) -> str:
    if not text.startswith(_BEGINNINGS):
        raise NoStatement("it holds a statement that no backup writes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise NoStatement("it holds what is no UTF-8") from None
