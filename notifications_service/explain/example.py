"""Example of a named command: a function that sends it, with arguments as in a real call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from notifications_service.clock import MillisecondClock
from notifications_service.explain.explainer import Explainer
from notifications_service.notification import documents
from notifications_service.notification.retention import Retention


@dataclass(frozen=True, slots=True)
class Values:
    """The values of an existing notification, or, in an empty database, of one that could exist."""

    user_id: str
    key: ObjectId
    created_at: datetime
    retention: Retention
    clock: MillisecondClock

    @property
    def position(self) -> tuple[int, ObjectId]:
        """The key of the notification in a list."""
        return documents.milliseconds(self.created_at), self.key


Send = Callable[[Explainer, Values], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Example:
    """A call that sends the command ``name``, and perhaps others; ``case``: which of its forms."""

    name: str
    call: Send
    case: str = ""
    # Whether the first command finds the notification: more follow only then.
    finds: bool = False
