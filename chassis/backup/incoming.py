"""The parts of a backup, as a restore takes them: one after the other, each from its beginning to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from chassis.backup.errors import Damaged
from chassis.backup.manifest import About, Manifest

# A manifest, and the checksums of all pieces; descriptions of collections are some kilobytes. JSON takes 20 times its
# size in memory.
LARGEST_TEXT: Final = 4 << 20

Advance = Callable[[int], None]


def unheard(_bytes: int) -> None:
    """Hear nothing."""


@dataclass(frozen=True, slots=True)
class IncomingPart:
    """One part: its name in the service's words, and its content in pieces of 1 MiB at most."""

    name: str
    content: Iterator[bytes]

    def text(self, label: str) -> str:
        """Return a small part whole. Raises ``Damaged``, also where it is not small."""
        collected = b""
        for piece in self.content:
            collected += piece
            if len(collected) > LARGEST_TEXT:
                raise Damaged(label, f"{self.name} is too long")
        try:
            return collected.decode()
        except UnicodeDecodeError:
            raise Damaged(label, f"{self.name} is no text") from None


class Backup(Protocol):
    """A backup that is to be restored: a file, or what arrives through a pipe."""

    @property
    def label(self) -> str:
        """What people call it: the name of the file, or the standard input."""
        ...

    @property
    def size(self) -> int | None:
        """How many bytes ``parts`` will read, or None where nobody knows."""
        ...

    @property
    def about(self) -> About | Manifest:
        """What is known of it before its first part."""
        ...

    @property
    def repeatable(self) -> bool:
        """Whether it can be read again: looked at whole before the first part is restored."""
        ...

    @property
    def manifest(self) -> Manifest:
        """What it holds; of a stream it is known once all parts are read."""
        ...

    def verify(self) -> None:
        """Compare every file of it with its checksum and size, where it is repeatable. Raises ``Damaged``."""
        ...

    def parts(self, advance: Advance = unheard) -> Iterator[IncomingPart]:
        """Give back the parts in their order; ``advance`` hears how many bytes were read.

        A stream that is read to its end is compared with its manifest. Raises ``Damaged``.
        """
        ...
