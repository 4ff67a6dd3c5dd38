"""Reading SQL text as this service and ``mysqldump`` write it: a statement ends where a line ends with a semicolon."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def statements(pieces: Iterable[bytes]) -> Iterator[str]:
    """Give back one statement after the other, without its semicolon; comments and empty lines are left out."""
    collected: list[bytes] = []
    for line in _lines(pieces):
        if not collected and (not line.strip() or line.startswith(b"--")):
            continue
        collected.append(line)
        if line.endswith(b";\n"):
            yield b"".join(collected)[:-2].decode()
            collected = []


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    begun = b""
    for piece in pieces:
        *whole, begun = (begun + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if begun:
        yield begun
