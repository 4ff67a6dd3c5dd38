"""A server in a process of its own, for the tests of signals: each call takes PAUSE seconds (0.5).

HANGS names what goes wrong with it once it listens, and METRICS_PORT a port that it holds beside its own. With FAILS
set, it says as soon as it serves that it can accept no more calls.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis import background

# First, as in the services: it says how gRPC is to be loaded.
from chassis.serving import lifecycle
from chassis.serving.registration import Registration
from chassis.serving.server import Server, build_server
from chassis.settings import ServerSettings, load
from chassis.telemetry.start import start as start_telemetry

# Seconds after the start until it goes wrong: "listening" is written by then.
SOON = 1.0
PAUSE = float(os.environ.get("PAUSE", "0.5"))


class Sessions(pb_grpc.SessionServiceServicer):
    """Answers slowly."""

    async def ValidateSession(self, _: Any, __: Any) -> Any:
        """Answer after a pause."""
        await asyncio.sleep(PAUSE)
        return pb.ValidateSessionResponse()


async def _close(name: str) -> None:
    # Not where nobody reads it: it would wait for ever.
    if "QUIET" in os.environ:
        return
    sys.stdout.write(f"closed {name}\n")
    sys.stdout.flush()


async def _probe() -> None:
    return


async def _broken_probe() -> None:
    raise OSError("the pool is broken")


async def _never_ends() -> None:
    """Swallow every cancellation."""
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)


def _turn_for_ever() -> None:
    while True:
        pass


def _hold_the_interpreter() -> None:
    # In C, where no other thread of Python gets a turn.
    re.match(r"(a+)+$", "a" * 64 + "b")


BLOCKING: dict[str, Callable[[], object]] = {
    "sleep": lambda: time.sleep(3600),
    "python": _turn_for_ever,
    "interpreter": _hold_the_interpreter,
}


async def _block(server: Server, how: Callable[[], object]) -> None:
    while not server.port:  # noqa: ASYNC110 - a server has no event for it
        await asyncio.sleep(0.01)
    await asyncio.sleep(SOON)
    sys.stdout.write("hangs\n")
    sys.stdout.flush()
    how()


# Kept, or they would be collected.
blocking: list[asyncio.Task[None]] = []


async def build(scope: lifecycle.Scope) -> Server:
    """Wire the server and two resources whose closing can be seen."""
    settings, hangs = load(ServerSettings), os.environ.get("HANGS", "")
    telemetry = await start_telemetry(settings, "echo", scope)
    scope.resources.push_async_callback(_close, "first")
    scope.resources.push_async_callback(_close, "second")
    if hangs == "close":
        scope.resources.push_async_callback(_never_ends)
    if hangs == "task":
        task = asyncio.create_task(_never_ends())
        scope.resources.push_async_callback(background.end, [task])
    servicer: Any = Sessions()  # type: ignore[abstract]
    services: list[Registration] = [(pb_grpc.add_SessionServiceServicer_to_server, servicer)]
    probe = _broken_probe if hangs in ("pool", "database") else _probe
    fresh = _broken_probe if hangs == "database" else _probe
    server = build_server(settings, services, probe=probe, fresh=fresh, draining=scope.draining)
    if os.environ.get("FAILS"):
        asyncio.get_running_loop().call_soon(server.failed.set)
    if hangs in BLOCKING:
        blocking.append(asyncio.create_task(_block(server, BLOCKING[hangs])))
    return telemetry.of_server(server)


if __name__ == "__main__":
    sys.exit(lifecycle.run(load(ServerSettings), build))
