"""How a watch goes on after each end of its stream."""

from __future__ import annotations

import pytest
from vibework.client import errors
from vibework.client._failure import VibeworkError
from vibework.client._following import Following, Next


class Ticking:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def failure(reason: str) -> VibeworkError:
    """Make the exception of a reason."""
    return (errors.by_reason(reason) or errors.UnknownReason)("text", reason=reason)


@pytest.mark.parametrize(
    "failed",
    [
        None,
        errors.ServiceUnreachable("reset"),
        errors.CallCancelled("goodbye"),
        *map(failure, ("WATCHER_TOO_SLOW", "TOO_MANY_WATCHERS", "WATCH_INTERRUPTED", "SHUTTING_DOWN", "OVERLOADED")),
    ],
)
def test_what_is_resumable_is_resumed_with_the_last_token(failed: VibeworkError | None) -> None:
    """Nothing is missed and nothing is seen twice."""
    following = Following("", can_relist=False)
    following.received("one")
    following.received("")
    step, delay = following.after(failed)
    assert (step, following.token) == (Next.RESUME, "one")
    assert delay > 0


@pytest.mark.parametrize("reason", ["INVALID_FIELDS", "RESUME_TOKEN_INVALID", "CALLER_FORBIDDEN", "INTERNAL"])
def test_what_is_not_ends_the_watch(reason: str) -> None:
    """Going on would fail in the same way for ever."""
    assert Following("one", can_relist=True).after(failure(reason))[0] is Next.GIVE_UP


def test_an_expired_token_needs_somebody_who_lists() -> None:
    """Events were missed: that is told, and never passed over."""
    following = Following("old", can_relist=True)
    assert following.after(failure("RESUME_TOKEN_EXPIRED"))[0] is Next.RELIST
    assert following.token == ""
    assert Following("old", can_relist=False).after(failure("RESUME_TOKEN_EXPIRED"))[0] is Next.GIVE_UP


def test_it_gives_up_only_when_told() -> None:
    """A service that is away for a day is waited for, unless the caller said for how long."""
    clock = Ticking()
    patient, hasty = Following("", False, None, clock), Following("", False, 60.0, clock)
    for _ in range(20):
        clock.now += 30
        assert patient.after(errors.ServiceUnreachable("away"))[0] is Next.RESUME
    assert hasty.after(errors.ServiceUnreachable("away"))[0] is Next.GIVE_UP


def test_delays_begin_anew_with_the_next_message() -> None:
    """An outage of yesterday does not slow down today's."""
    following = Following("", can_relist=False)
    for _ in range(10):
        following.after(None)
    following.received("one")
    assert following.failures == 0
