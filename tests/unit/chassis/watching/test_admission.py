"""Admission of watchers."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Final

import pytest

from chassis.watching.admission import WatcherAdmission
from chassis.watching.errors import TooManyWatchers
from chassis.watching.limits import WatcherLimits
from chassis.watching.settings import WatcherSettings
from chassis.watching.watcher import QueuedWatcher

LIMITS: Final = WatcherLimits.of(WatcherSettings())


async def test_one_too_many_is_refused_until_one_has_left() -> None:
    """Whoever leaves is taken out of the hub, too; one that was refused was never in it."""
    left: list[QueuedWatcher[object]] = []
    admission: WatcherAdmission[QueuedWatcher[object]] = WatcherAdmission(replace(LIMITS, watchers=2), left.append)
    first, second, third = (QueuedWatcher[object](1) for _ in range(3))
    with ExitStack() as stack:
        stack.enter_context(admission.admitted(first))
        with admission.admitted(second):
            assert admission.watchers == admission.limit == 2
            with pytest.raises(TooManyWatchers), admission.admitted(third):
                raise AssertionError("it was let in")
        assert left == [second]
        stack.enter_context(admission.admitted(third))
    assert left == [second, third, first]
    assert admission.watchers == 0
