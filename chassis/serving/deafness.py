"""Finds out that it is this process, not its database, that hears nothing: probes fail, new connections work.

A pool can break for good (a lock that nobody gives back, connections that are never returned). Only a new process mends
that, and nobody else sees it: to balancers and people it looks as if the database were away.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Final

from chassis.logs import logging
from chassis.serving.health import Health, Probe, run_probe

# How long a new connection may take to be made and to answer.
CONNECT_SECONDS: Final = 5.0
# So often is a new connection tried within the limit.
_TRIES: Final = 6


async def until_deaf(health: Health, fresh: Probe, limit: float) -> None:
    """Return once health was NOT_SERVING for ``limit`` seconds while ``fresh`` succeeded each time.

    ``fresh`` does what the probe of health does, over a connection of its own that no pool has a part in. While it
    fails, the database is away, and that is never deafness.
    """
    log = logging.get("chassis.serving.deafness")
    pause = limit / _TRIES
    deaf, before = 0.0, monotonic()
    while deaf < limit:
        await asyncio.sleep(pause)
        # Of a time in which this process was itself stopped, nothing is known.
        passed, before = min(monotonic() - before, 2 * pause + CONNECT_SECONDS), monotonic()
        answered = not health.serving and await run_probe(fresh, CONNECT_SECONDS) is None
        if answered and not health.serving:
            deaf += passed
            log.warning("the database answers new connections, but not ours", seconds=round(deaf, 1), limit=limit)
        else:
            deaf = 0.0
    log.error("deaf: ending, so that a new process takes over", seconds=round(deaf, 1))
