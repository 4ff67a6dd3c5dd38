"""A server in a process of its own, for the tests of signals: each call takes 0.5 s.

With FAILS set, it says as soon as it serves that it can accept no more calls.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

# First, as in the services: it says how gRPC is to be loaded.
from chassis import lifecycle  # isort: split

from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.registration import Registration
from chassis.server import Server, build_server
from chassis.settings import ServerSettings, load


class Sessions(pb_grpc.SessionServiceServicer):
    """Answers slowly."""

    async def ValidateSession(self, _: Any, __: Any) -> Any:
        """Answer after half a second."""
        await asyncio.sleep(0.5)
        return pb.ValidateSessionResponse()


async def _close(name: str) -> None:
    # Not where nobody reads it: it would wait for ever.
    if "QUIET" in os.environ:
        return
    sys.stdout.write(f"closed {name}\n")
    sys.stdout.flush()


async def _probe() -> None:
    return


async def build(scope: lifecycle.Scope) -> Server:
    """Wire the server and two resources whose closing can be seen."""
    scope.resources.push_async_callback(_close, "first")
    scope.resources.push_async_callback(_close, "second")
    servicer: Any = Sessions()  # type: ignore[abstract]
    services: list[Registration] = [(pb_grpc.add_SessionServiceServicer_to_server, servicer)]
    server = build_server(load(ServerSettings), services, probe=_probe, draining=scope.draining)
    if os.environ.get("FAILS"):
        asyncio.get_running_loop().call_soon(server.failed.set)
    return server


if __name__ == "__main__":
    sys.exit(lifecycle.run(load(ServerSettings), build))
