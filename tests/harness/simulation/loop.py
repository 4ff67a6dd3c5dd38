"""An event loop with virtual time, in which a seed decides what runs next.

Of the handles that are ready it runs one at a time. Some schedules keep to the order in which they became ready, which
asyncio promises; the others break it now and then, or always: code that holds there relies on no order at all. Timers
fire when nothing else is ready, and time passes by drawn microseconds with each step.

Tasks belong to processes, which can be stopped (SIGSTOP), continued, and killed without a ``finally`` being run. All
processes share the loop, so they share its time, and nothing else but what a test gives them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from random import Random
from typing import Any, Final

# A step takes up to so many seconds.
STEP_SECONDS: Final = 20e-6
# Steps after which a schedule counts as endless; the longest of those that end take a tenth of it.
MOST_STEPS: Final = 20_000
# How often the order of what is ready is broken, by schedule: never, now and then, always.
DISORDERS: Final = (0.0, 0.25, 1.0)
_KEPT_STEPS: Final = 30


class Stuck(Exception):
    """Nothing is ready and no timer runs, or the schedule does not end; the text says which."""


class SimulatedTask(asyncio.Task[Any]):
    """A task that sets iterate over in the order of creation, whatever its address in memory."""

    def __init__(self, coro: Coroutine[Any, Any, Any], number: int, process: str | None, **options: Any) -> None:
        # Before asyncio puts it into a set.
        self.number, self.process = number, process
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


class Numbered:
    """Put before another class: what is made of both is iterated over by sets as a ``SimulatedTask`` is."""

    def __init__(self, *given: Any) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        self.number = loop.number()
        super().__init__(*given)

    def __hash__(self) -> int:
        return self.number


class _Handle(asyncio.Handle):
    __slots__ = ("process",)
    process: str | None


class _TimerHandle(asyncio.TimerHandle):
    __slots__ = ("process",)
    process: str | None


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop of one schedule; ``failed``: set by whoever finds a fault, and raised after the step."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.now = 1_000.0
        self.failed: BaseException | None = None
        self.tasks: list[SimulatedTask] = []
        self.steps = 0
        self.last_steps: deque[tuple[float, asyncio.Handle]] = deque(maxlen=_KEPT_STEPS)
        self.disorder = random.choice(DISORDERS)
        self._random = random.random
        self._ready: list[Any] = []
        self._timers: list[tuple[float, int, _TimerHandle]] = []
        self._numbers = itertools.count(1)
        self._process: str | None = None
        self._has_processes = False
        self._stopped: dict[str, list[Any]] = {}
        self._dead: set[str] = set()
        self._readers: dict[Any, Callable[[], object]] = {}

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now

    def number(self) -> int:
        """Return a number that nothing else in this schedule has."""
        return next(self._numbers)

    def call_soon(  # type: ignore[override] # arguments of any type, as their callbacks take them
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Make a callback ready."""
        handle = _Handle(callback, args, self, context)
        handle.process = self._process
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a callback ready after ``delay`` virtual seconds."""
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Make a callback ready at a virtual time."""
        handle = _TimerHandle(when, callback, args, self, context)
        handle.process = self._process
        heapq.heappush(self._timers, (when, self.number(), handle))
        return handle

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> SimulatedTask:  # type: ignore[override]
        """Start a task in the process that runs."""
        task = SimulatedTask(coro, self.number(), self._process, loop=self, **options)
        self.tasks.append(task)
        return task

    def add_reader(self, fd: Any, callback: Callable[[], object]) -> None:  # type: ignore[override]
        """Note who reads a stream that a test makes up."""
        self._readers[fd] = callback

    def remove_reader(self, fd: Any) -> bool:
        """Forget who reads a stream."""
        return self._readers.pop(fd, None) is not None

    def readable(self, fd: Any) -> None:
        """Have a stream read by whoever reads it by then."""
        self.call_soon(self._read, fd)

    def _read(self, fd: Any) -> None:
        if fd in self._readers:
            self._readers[fd]()

    @contextmanager
    def process(self, name: str | None) -> Iterator[None]:
        """Let what is started inside belong to a process; None: to the world outside of all."""
        before, self._process = self._process, name
        self._has_processes = self._has_processes or name is not None
        try:
            yield
        finally:
            self._process = before

    @property
    def running(self) -> str | None:
        """The process that runs now."""
        return self._process

    def stop_process(self, name: str) -> None:
        """Let a process rest as SIGSTOP does; the world goes on."""
        self._stopped.setdefault(name, [])

    def continue_process(self, name: str) -> None:
        """Let a process go on, with all that has become ready meanwhile."""
        self._ready += self._stopped.pop(name, ())

    def kill_process(self, name: str) -> None:
        """End a process as SIGKILL does: nothing of it runs any more."""
        self._dead.add(name)
        self._stopped.pop(name, None)

    @property
    def unfinished(self) -> list[SimulatedTask]:
        """The tasks that have not ended, but those of processes that were killed."""
        return [task for task in self.tasks if not task.done() and task.process not in self._dead]

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is; it is passed over."""

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers
        while timers and (timers[0][0] <= self.now or timers[0][2].cancelled()):
            ready.append(heapq.heappop(timers)[2])
        if not ready:
            self._to_next_timer()
            return
        place = int(self._random() * len(ready)) if self._random() < self.disorder else 0
        handle = ready.pop(place)
        if handle.cancelled() or ((self._stopped or self._dead) and self._is_held(handle)):
            return
        self.steps += 1
        self.now += self._random() * STEP_SECONDS
        self.last_steps.append((self.now, handle))
        if self._has_processes:
            self._process = process_of(handle)
            handle._run()
            self._process = None
        else:
            handle._run()
        if self.failed is not None:
            raise self.failed
        if self.steps > MOST_STEPS:
            raise Stuck(f"it does not end within {MOST_STEPS} steps")

    def _to_next_timer(self) -> None:
        if not self._timers:
            raise Stuck("nothing is ready, and no timer runs")
        self.now = max(self.now, self._timers[0][0])

    def _is_held(self, handle: Any) -> bool:
        process = process_of(handle)
        if process in self._stopped:
            self._stopped[process].append(handle)
        return process in self._stopped or process in self._dead

    def abandon(self) -> None:
        """Close the loop, whatever was going on."""
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _closed(task.get_coro())
        self.close()


def process_of(handle: Any) -> str | None:
    """Return the process that a handle belongs to: its task's, whoever has woken that, or that of who has made it."""
    owner = getattr(handle._callback, "__self__", None)
    found: str | None = owner.process if type(owner) is SimulatedTask else handle.process
    return found


def _closed(coroutine: Any) -> None:
    try:
        coroutine.close()
    except BaseException:  # noqa: BLE001 - what it does about its end does not matter: the schedule is over
        return
