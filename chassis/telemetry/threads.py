"""Blocking work beside the loop, in threads that the end of the process does not wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

from chassis.logs import logging


async def in_thread(work: Callable[[], object], seconds: float) -> bool:
    """Carry out ``work`` in a daemon thread; False when it took longer than ``seconds``: it goes on unattended.

    ``asyncio.to_thread`` will not do: its threads are joined when the loop closes, however long that takes.
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
