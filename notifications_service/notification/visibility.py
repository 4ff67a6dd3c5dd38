"""Visibility of notifications: each is shown until its retention ends, or its own `expiresAt` comes if that is earlier.

MongoDB's sweeper removes rows some time after that, so every read leaves out what has ended by its own clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from notifications_service.mongodb.codec import Document


class Visibility(NamedTuple):
    """What is shown at one moment: what was created after ``cutoff`` and has not expired by ``now`` (naive UTC).

    A command takes one of these for all of its rows.
    """

    cutoff: datetime
    now: datetime

    @property
    def unexpired(self) -> Document:
        """The condition on `expiresAt`."""
        return {"$not": {"$lte": self.now}}

    @property
    def of_any_row(self) -> Document:
        """The conditions on a row that may lack a date, so that such a row can be changed by its id."""
        return {"createdAt": {"$not": {"$lte": self.cutoff}}, "expiresAt": self.unexpired}

    def shows(self, row: Mapping[str, Any]) -> bool:
        """Whether a row is shown. One without a date never ends; converting it raises that it is unreadable."""
        created, expires = row.get("createdAt"), row.get("expiresAt")
        if isinstance(created, datetime) and created <= self.cutoff:
            return False
        return not (isinstance(expires, datetime) and expires <= self.now)
