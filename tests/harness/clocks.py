"""A clock that stands still until a test moves it, for rules that hold to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from tests.harness.users import VirtualClock


class FrozenClock(VirtualClock):
    """Shows one time until it is moved."""

    def __init__(self) -> None:
        super().__init__()
        self.reset()

    def __call__(self) -> datetime:
        """Return the time that the server takes for now."""
        return self.now

    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by

    def reset(self) -> None:
        """Go back to the real time."""
        self.now = datetime.now(UTC)
