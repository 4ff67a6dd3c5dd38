"""The ledger of a drill: every acknowledged write, and when it was acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


class Kind(StrEnum):
    """What was written."""

    SIGN_UP = "sign-ups"
    UPDATE = "updates of users"
    BATCH = "batches of notifications"
    MARK = "batches marked as read"


@dataclass(frozen=True, slots=True)
class Write:
    """One acknowledged write; ``value`` grows with every write of the same key."""

    kind: Kind
    key: str
    value: int
    acknowledged_at: datetime


@dataclass
class Ledger:
    """All of them, and those that failed, which may or may not have taken effect."""

    writes: list[Write] = field(default_factory=list)
    failed: int = 0

    @contextmanager
    def acknowledging(self, kind: Kind, key: str, value: int = 1) -> Iterator[None]:
        """Note a write once the context has ended well."""
        yield
        self.writes.append(Write(kind, key, value, datetime.now(UTC)))

    def before(self, time: datetime, kind: Kind) -> dict[str, int]:
        """Return the last value of each key that was acknowledged before a time."""
        return {write.key: write.value for write in self.writes if write.kind is kind and write.acknowledged_at < time}

    def after(self, time: datetime) -> int:
        """Return how many writes were acknowledged at a time or later."""
        return sum(write.acknowledged_at >= time for write in self.writes)
