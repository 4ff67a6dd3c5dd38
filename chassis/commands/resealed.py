"""Outcome of sealing rows anew under the newest key: how many, and which could not be opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from chassis.commands.left import Left
from chassis.keyring import CiphertextInvalid, KeyMissing


@dataclass(slots=True)
class Resealed:
    """How many rows were sealed anew, and those that were left: their key is gone, or they are damaged."""

    done: int = 0
    keyless: Left = field(default_factory=Left)
    damaged: Left = field(default_factory=Left)

    @contextmanager
    def leaving(self, id_: str) -> Iterator[None]:
        """Count a row as left where what is done inside cannot open it; the others go on."""
        try:
            yield
        except KeyMissing:
            self.keyless.add(id_)
        except CiphertextInvalid:
            self.damaged.add(id_)

    def told(self, what: str) -> list[str]:
        """Say which of ``what`` were left, and why: a line for each reason."""
        lines = [
            self.keyless.told(what, "their key is not in SECRET_KEYS"),
            self.damaged.told(what, "they are damaged"),
        ]
        return [line for line in lines if line]
