"""When a call is repeated, and after how long.

The rules are those of docs/retries.md. What the services say has taken no effect is repeated whatever it was; after an
unclear end a call is repeated only where it may be carried out twice.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from vibework.client._failure import CallCancelled, ServiceUnreachable, VibeworkError
from vibework.client._methods import Method

# The service did nothing, and later it might.
NO_EFFECT: Final = frozenset(
    {
        "OVERLOADED",
        "CALLER_RATE_LIMITED",
        "PASSWORD_HASHING_BUSY",
        "PASSWORD_HASHING_UNAVAILABLE",
        "CONFLICT_RETRY",
        "REQUEST_IN_FLIGHT",
        "USERS_SERVICE_UNAVAILABLE",
        "NOTIFICATIONS_SERVICE_UNAVAILABLE",
    }
)
# It may have taken effect.
UNCLEAR: Final = frozenset({"DATABASE_UNAVAILABLE", "SHUTTING_DOWN"})
# A stream that ends so goes on with its last token.
RESUMABLE: Final = (
    NO_EFFECT | UNCLEAR | {"WATCHER_TOO_SLOW", "TOO_MANY_WATCHERS", "WATCH_INTERRUPTED", "DEADLINE_EXCEEDED"}
)

FIRST_DELAY: Final = 0.05
LONGEST_DELAY: Final = 2.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call is tried at most, the first time included; 1: never again."""

    attempts: int = 4

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError("attempts must be 1 or more")

    def delay(self, method: Method, failure: VibeworkError, made: int, left: float) -> float | None:
        """Return after how many seconds to try again; None: not at all.

        ``made``: attempts so far; ``left``: seconds until the deadline, which a repetition must meet.
        """
        if made >= self.attempts or not may_be_repeated(method, failure):
            return None
        seconds = backoff(made, failure.retry_after)
        return seconds if seconds < left else None


def may_be_repeated(method: Method, failure: VibeworkError) -> bool:
    """Say whether a call that ended so may be made again."""
    if failure.reason in NO_EFFECT:
        return True
    unclear = failure.reason in UNCLEAR or isinstance(failure, ServiceUnreachable | CallCancelled)
    return unclear and method.repeatable


def backoff(made: int, said: float | None) -> float:
    """Return the seconds before the next attempt: what the service said at least, more each time, some at random."""
    growing: float = min((FIRST_DELAY if said is None else said) * 2 ** (made - 1), LONGEST_DELAY)
    full = max(growing, said or 0.0)
    return full + random.uniform(0, full / 2)  # noqa: S311 - spreads callers, hides nothing
