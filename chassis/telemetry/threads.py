"""Daemon threads for blocking work: the end of the process does not wait for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from chassis.logs import logging


async def in_thread(work: Callable[[], object], seconds: float) -> bool:
    """Carry out ``work`` in a daemon thread; False when it takes longer than ``seconds``, and then it goes on.

    ``asyncio.to_thread`` is no alternative: the loop joins its threads when it closes, however long that takes.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - nobody above could log it
            logging.get(__name__).error("telemetry failed", exc_info=error)
        finally:
            # The loop may have closed meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, name="telemetry", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    except TimeoutError:
        return False
    return True
