"""Work goes on without its caller, within limits of its own, and nothing of it is lost or told to the wrong one."""

from __future__ import annotations

import asyncio
import gc
from contextvars import ContextVar

import pytest

from chassis.context import calls, deadline
from chassis.errors import CallDeadlineExceeded, Overloaded
from chassis.pooling.detached import CallerLeft, Detached, proceed
from chassis.pooling.gate import PoolGate
from tests.harness.patience import PATIENCE_SECONDS

name: ContextVar[str] = ContextVar("name")


class Step:
    """Work that waits until it is told to go on."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun, self.go, self.error = asyncio.Event(), asyncio.Event(), error
        self.ended = ""

    async def __call__(self) -> str:
        """Wait, then return or fail."""
        self.begun.set()
        try:
            await self._go_on()
        except BaseException as error:
            self.ended = type(error).__name__
            raise
        self.ended = "done"
        return "done"

    async def _go_on(self) -> None:
        await self.go.wait()
        if self.error is not None:
            raise self.error
        proceed()


@pytest.fixture
def work() -> Detached:
    """Room for one piece of work."""
    return Detached(PoolGate(1, 0.05))


async def ended(work: Detached) -> None:
    """Wait until nothing runs."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while work.running:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)


async def test_a_result_and_an_error_are_the_callers(work: Detached) -> None:
    """Whoever stays gets what the work brought, and the place is free again."""
    step, failing = Step(), Step(KeyError("x"))
    step.go.set()
    failing.go.set()
    assert await work.run(step) == "done"
    with pytest.raises(KeyError):
        await work.run(failing)
    assert (work.gate.inside, work.running) == (0, 0)


async def test_a_cancelled_caller_leaves_work_that_ends_by_itself(work: Detached) -> None:
    """The cancellation does not reach it; it holds its place until it is over, and asks whether to go on."""
    step = Step()
    caller = asyncio.create_task(work.run(step))
    await step.begun.wait()
    caller.cancel()
    await asyncio.wait([caller], timeout=PATIENCE_SECONDS)
    assert caller.cancelled()
    with pytest.raises(Overloaded):
        await work.run(step)
    step.go.set()
    await ended(work)
    assert (step.ended, work.gate.inside) == (CallerLeft.__name__, 0)


async def test_a_caller_waits_until_its_deadline_and_the_work_has_another(
    work: Detached, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of the call limits the waiting alone."""
    # The work is begun, however long the machine takes until then.
    monkeypatch.setattr(calls, "monotonic", lambda: 0.0)
    left: list[float | None] = []

    async def look() -> None:
        await asyncio.sleep(0.05)
        left.append(deadline.remaining())

    call = calls.Call("/a/b", ())
    call.cap = 0.01
    calls.enter(call)
    with pytest.raises(CallDeadlineExceeded):
        await work.run(look)
    await ended(work)
    assert left == [None]


async def test_work_for_a_call_whose_time_is_up_is_not_begun(work: Detached) -> None:
    """Nobody would wait for it."""
    step = Step()
    with deadline.within(0), pytest.raises(CallDeadlineExceeded):
        await work.run(step)
    assert not step.begun.is_set()


async def test_work_has_the_context_of_its_caller(work: Detached) -> None:
    """Names of statements, traces and the call itself reach the work."""
    name.set("feed.page")

    async def read() -> str:
        return name.get()

    assert await work.run(read) == "feed.page"


async def test_work_that_has_no_caller_needs_no_task(work: Detached) -> None:
    """The coalescer's queries are tasks already, which nobody cancels."""
    task = asyncio.current_task()

    async def read() -> bool:
        return asyncio.current_task() is task

    with deadline.alone(5):
        assert await work.run(read)
    assert not await work.run(read)
    assert work.gate.inside == 0


async def test_an_error_that_nobody_waits_for_is_nobodys(work: Detached) -> None:
    """It is retrieved: no line about an exception that was never looked at."""
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    step = Step(KeyError("x"))
    caller = asyncio.create_task(work.run(step))
    await step.begun.wait()
    caller.cancel()
    await asyncio.wait([caller], timeout=PATIENCE_SECONDS)
    step.go.set()
    await ended(work)
    gc.collect()
    await asyncio.sleep(0)
    assert step.ended == "KeyError"
    assert told == []


async def test_closing_ends_what_hangs(work: Detached, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stops waits for a moment, then cancels; whoever still waits is not left waiting."""
    monkeypatch.setattr("chassis.pooling.detached.CLOSING_SECONDS", 0.01)
    step = Step()
    caller = asyncio.create_task(work.run(step))
    await step.begun.wait()
    await work.close()
    await asyncio.wait([caller], timeout=PATIENCE_SECONDS)
    assert (step.ended, caller.cancelled()) == ("CancelledError", True)
