"""Descriptions of what ran, and of what tasks wait for, for whoever looks into a schedule that failed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.harness.simulation.loop import SimulatedLoop, SimulatedTask, process_of


def waiting(loop: SimulatedLoop) -> str:
    """Return a line for each task that has not ended: where it stands, from its outermost function inwards."""
    lines = [f"  {_name(task)} waits in {' > '.join(_places(task.get_coro()))}" for task in loop.unfinished]
    return "\n".join(lines) or "  no task is left"


def last_steps(loop: SimulatedLoop) -> str:
    """Return a line for each of the last steps: when it ended, in which process, and what ran."""
    return "\n".join(
        f"  {now - 1_000.0:11.6f}  {process_of(handle) or '-':10}  {_what(handle)}" for now, handle in loop.last_steps
    )


def _name(task: SimulatedTask) -> str:
    process = f" of {task.process}" if task.process else ""
    return f"{task.get_name()}{process}"


def _what(handle: Any) -> str:
    owner = getattr(handle._callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        coroutine: Any = owner.get_coro()
        return f"task {coroutine.__qualname__}"
    return getattr(handle._callback, "__qualname__", None) or repr(handle._callback)


def _places(coroutine: Any) -> Iterator[str]:
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            yield repr(coroutine)[:100]
            return
        yield f"{coroutine.__qualname__} ({Path(frame.f_code.co_filename).name}:{frame.f_lineno})"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
