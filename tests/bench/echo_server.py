"""The references: bare grpc.aio servers that answer with a message of the size asked for, at once or after one read.

Written and registered as the gRPC guide shows, with nothing around the handler; run as processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import pickle
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import BytesValue

from tests.bench.calls import Call, Caller

SERVICE = "bench.Echo"
METHOD = f"/{SERVICE}/Echo"


class Echo:
    """Answers with the message that the first byte of the request chooses."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """``sizes``: of the responses, in bytes on the wire."""
        self._responses = [message(size) for size in sizes]

    async def Echo(self, request: BytesValue, _: Any) -> BytesValue:
        """Return the response of the request's number."""
        return self._responses[request.value[0]]


class Through(Echo):
    """Answers likewise, after asking a database."""

    def __init__(self, sizes: Sequence[int], calls: Sequence[Call]) -> None:
        """``calls``: what is asked, by the request's number."""
        super().__init__(sizes)
        self._calls = calls
        self._numbers = count()

    async def Echo(self, request: BytesValue, context: Any) -> BytesValue:
        """Ask, pass over what the database says, and return the response of the request's number."""
        await self._calls[request.value[0]](next(self._numbers))
        return await super().Echo(request, context)


def message(size: int, number: int = 0) -> BytesValue:
    """Return a message that takes ``size`` bytes on the wire and begins with ``number``."""
    value = BytesValue(value=bytes([number]) * max(1, size))
    while value.ByteSize() > size and len(value.value) > 1:
        value.value = value.value[:-1]
    return value


async def serve(port: int, sizes: Sequence[int], callers: Sequence[Caller]) -> None:
    """Serve until the process is ended; with ``callers``, one for each size, each call asks its database first."""
    async with AsyncExitStack() as resources:
        calls = [await resources.enter_async_context(caller.open()) for caller in callers]
        handler = Through(sizes, calls) if calls else Echo(sizes)
        await _serve(port, handler)


async def _serve(port: int, handler: Echo) -> None:
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(
            handler.Echo,
            request_deserializer=BytesValue.FromString,
            response_serializer=BytesValue.SerializeToString,
        )
    }
    server: Any = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    # What a generated `add_EchoServicer_to_server` does.
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


def _callers(files: Sequence[str]) -> list[Caller]:
    # Of the bench's own making.
    return [caller for file in files for caller in pickle.loads(Path(file).read_bytes())]  # noqa: S301


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), json.loads(sys.argv[2]), _callers(sys.argv[3:])))
