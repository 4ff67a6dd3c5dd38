"""What a watch does when its stream ends: the decisions, without any call."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from vibework.client._failure import CallCancelled, ServiceUnreachable, VibeworkError
from vibework.client._retrying import RESUMABLE, backoff

EXPIRED = "RESUME_TOKEN_EXPIRED"


class Next(Enum):
    """How a watch goes on."""

    # With the last token.
    RESUME = auto()
    # From now on; what happened since the last token is to be listed.
    RELIST = auto()
    GIVE_UP = auto()


@dataclass
class Following:
    """The state of a watch: the token of the last event, and what to do after an error.

    ``can_relist``: whether there is somebody to list what was missed. ``give_up_after``: seconds without any message
    after which the watch ends; None: never.
    """

    token: str
    can_relist: bool
    give_up_after: float | None = None
    clock: Callable[[], float] = time.monotonic
    failures: int = 0
    _alive_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._alive_at = self.clock()

    def received(self, token: str) -> None:
        """Note a message of the stream, and its token."""
        self.failures = 0
        self._alive_at = self.clock()
        if token:
            self.token = token

    def after(self, failure: VibeworkError | None) -> tuple[Next, float]:
        """Say how to go on after an error, or after an end without one, and after how many seconds."""
        self.failures += 1
        if failure is not None and failure.reason == EXPIRED and self.can_relist:
            self.token = ""
            return Next.RELIST, 0.0
        if failure is not None and not _is_resumable(failure):
            return Next.GIVE_UP, 0.0
        delay = backoff(min(self.failures, 10), failure.retry_after if failure else None)
        if self.give_up_after is not None and self.clock() + delay - self._alive_at > self.give_up_after:
            return Next.GIVE_UP, 0.0
        return Next.RESUME, delay


def _is_resumable(failure: VibeworkError) -> bool:
    return failure.reason in RESUMABLE or isinstance(failure, ServiceUnreachable | CallCancelled)
