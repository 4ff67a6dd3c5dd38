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


def statements(pieces: Iterable[bytes]) -> Iterator[str]:
    """Give back one statement after the other, without its semicolon; comments and empty lines are left out.

    Raises ``NoStatement``.
    """
    collected: list[bytes] = []
    size = 0
    for line in _lines(pieces):
        if not collected and (not line.strip() or line.startswith(b"--")):
            continue
        collected.append(line)
        size += len(line)
        if size > LONGEST_BYTES:
            raise NoStatement("a statement is too long")
        if line.endswith(b";\n"):
            yield _statement(b"".join(collected)[:-2])
            collected, size = [], 0
    if collected:
        raise NoStatement("it ends within a statement")


def _statement(text: bytes) -> str:
    if not text.startswith(_BEGINNINGS):
        raise NoStatement("it holds a statement that no backup writes")
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise NoStatement("it holds what is no UTF-8") from None


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        first, *others = piece.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > LONGEST_BYTES:
            raise NoStatement("a statement is too long")
        for other in others:
            yield b"".join(begun) + b"\n"
            begun, size = [other], len(other)
    if size:
        yield b"".join(begun)
