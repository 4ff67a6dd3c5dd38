"""Counts of what workers do, for metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import OPEN
from notifications_service.outbox.changes import Change


class Numbers:
    """Counts of one process, since its start."""

    def __init__(self) -> None:
        # By channel, state and reason.
        self.ended: Counter[tuple[str, str, str]] = Counter()
        # Put off, by channel and what they wait for.
        self.put_off: Counter[tuple[str, str]] = Counter()
        self.claimed: Counter[str] = Counter()
        self.taken_over: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def take(self, channel: str, rows: Sequence[Document]) -> None:
        """Count what was claimed."""
        self.claimed[channel] += len(rows)
        self.taken_over[channel] += sum(row.get("takenOver") is True for row in rows)

    def note(self, change: Change) -> None:
        """Count what became of a delivery."""
        channel = change.row["channel"]
        if change.state in OPEN:
            self.put_off[channel, change.values.get("deferral") or ""] += 1
        else:
            self.ended[channel, change.state.value, change.values.get("reason") or ""] += 1
