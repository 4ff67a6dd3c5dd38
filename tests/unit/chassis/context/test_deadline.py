"""The time left for the current work."""

from __future__ import annotations

from contextvars import copy_context

from chassis.context import calls, deadline


def test_outside_of_a_call_nothing_is_limited() -> None:
    """Background work uses its own timeouts."""
    assert deadline.remaining() is None
    assert deadline.timeout(5) == 5


def test_a_limit_inside_a_limit_only_shortens() -> None:
    """No part of the work gets more time than the whole, not even when nothing is left."""
    with deadline.within(0), deadline.within(5):
        assert deadline.timeout(5) == 0
    with deadline.within(5):
        with deadline.within(60):
            assert 4 < deadline.timeout(60) <= 5
        assert 4 < deadline.timeout(60) <= 5


def test_a_call_past_its_cap_has_nothing_left() -> None:
    """What is called late in a call fails at once instead of hanging on."""
    call = calls.Call("/a/b", ())
    call.cap = 0.0
    calls.enter(call)
    assert deadline.remaining() == 0
    call.close()
    assert deadline.remaining() is None


def test_work_that_is_alone_has_limits_of_its_own() -> None:
    """The end of the call that it began in is not its own, and is never told as such."""
    call = calls.Call("/a/b", ())
    call.cap = 0.0
    calls.enter(call)
    assert deadline.has_passed()
    with deadline.alone(5):
        assert 4 < deadline.timeout(60) <= 5
        assert not deadline.has_passed()
    call.close()


def test_what_a_caller_left_of_its_time_is_over_also_for_work_that_goes_on_without_it() -> None:
    """A limit inside a call is a part of the call's time: whoever reaches it was late, and nothing else is away."""

    def look() -> tuple[bool, bool]:
        deadline.leave_caller()
        with deadline.alone(5):
            alone = deadline.has_passed()
        return deadline.has_passed(), alone

    with deadline.within(0):
        assert copy_context().run(look) == (True, False)
    assert copy_context().run(look) == (False, False)
