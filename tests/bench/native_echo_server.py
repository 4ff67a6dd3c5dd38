"""A bare echo over the front of the transport ``native``, as its own guide shows: its loop is a task for each call."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Sequence
from typing import Any

import uvloop
from google.protobuf.wrappers_pb2 import BytesValue
from pygrpc_native import EVENT_CANCEL, NativeGrpcFront

from tests.bench.echo_server import METHOD, Echo

TOGETHER = 64


async def serve(port: int, sizes: Sequence[int]) -> None:
    """Serve until the process is ended."""
    loop, echo = asyncio.get_running_loop(), Echo(sizes)
    front = NativeGrpcFront(f"127.0.0.1:{port}", [(METHOD, False)], call_details=True)
    tasks = set()

    async def answer(number: int, message: bytes) -> None:
        response = await echo.Echo(BytesValue.FromString(message), None)
        front.respond(number, response.SerializeToString())

    def take(events: Sequence[Any]) -> None:
        for kind, number, _, message, *_ in events:
            if kind != EVENT_CANCEL:
                task = loop.create_task(answer(number, message))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

    def receive() -> None:
        while (events := front.recv_batch_details(TOGETHER)) is not None:
            loop.call_soon_threadsafe(take, events)

    front.start()
    threading.Thread(target=receive, daemon=True).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), json.loads(sys.argv[2])))
