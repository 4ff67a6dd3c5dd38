"""The death of a listener, whatever its cause: an error in the loop in which gRPC accepts calls."""

from __future__ import annotations

import asyncio
from typing import Any


def die_at_the_next_call() -> None:
    """Have the listener that accepts the next call of this event loop die of an error of its own."""
    loop = asyncio.get_running_loop()

    def fail_once(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        # The accept loop makes a task of this for every call.
        if "_schedule_rpc_coro" not in getattr(coroutine, "__qualname__", ""):
            return asyncio.Task(coroutine, loop=loop, **options)
        loop.set_task_factory(None)
        coroutine.close()
        raise MemoryError("the secret of a caller")

    loop.set_task_factory(fail_once)
