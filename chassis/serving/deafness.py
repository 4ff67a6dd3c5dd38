"""Deafness: this process cannot reach the database any more, although new connections to it work.

A pool can break for good, such as by a lock that is never released, or connections that are never returned. Only a new
process mends that. From outside it looks as if the database were away, so the process has to find out by itself.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from chassis.logs import logging
from chassis.serving.health import Health, Probe, run_probe

# How long a new connection may take to be made and to answer.
CONNECT_SECONDS: Final = 5.0
# How many times a new connection is tried within the limit.
_TRIES: Final = 6


async def until_deaf(health: Health, fresh: Probe, limit: float) -> None:
    """Return once health was NOT_SERVING for ``limit`` seconds while ``fresh`` succeeded each time.

    ``fresh`` does what the health probe does, over a new connection that belongs to no pool. If it fails, the database
    is away, and the process is not deaf.
    """
    log = logging.get("chassis.serving.deafness")
    pause = limit / _TRIES
    deaf, before = 0.0, monotonic()
    while deaf < limit:
        await asyncio.sleep(pause)
        # Time in which this process itself was stopped does not count.
        passed, before = min(monotonic() - before, 2 * pause + CONNECT_SECONDS), monotonic()
        answered = not health.serving and await run_probe(fresh, CONNECT_SECONDS) is None
        if answered and not health.serving:
            deaf += passed
            log.warning("the database answers new connections, but not ours", seconds=round(deaf, 1), limit=limit)
        else:
            deaf = 0.0
    log.error("deaf: ending, so that a new process takes over", seconds=round(deaf, 1))
