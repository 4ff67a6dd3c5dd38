"""The reference: a bare grpc.aio server that answers at once, with a message of the size it is asked for.

Written and registered as the gRPC guide shows, with nothing around the handler; run as a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import uvloop
from google.protobuf.wrappers_pb2 import BytesValue

SERVICE = "bench.Echo"
METHOD = f"/{SERVICE}/Echo"


class Echo:
    """Answers with the message that the first byte of the request chooses."""

    def __init__(self, sizes: list[int]) -> None:
        """``sizes``: of the responses, in bytes on the wire."""
        self._responses = [message(size) for size in sizes]

    async def Echo(self, request: BytesValue, _: Any) -> BytesValue:
        """Return the response of the request's number."""
        return self._responses[request.value[0]]


def message(size: int, number: int = 0) -> BytesValue:
    """Return a message that takes ``size`` bytes on the wire and begins with ``number``."""
    value = BytesValue(value=bytes([number]) * max(1, size))
    while value.ByteSize() > size and len(value.value) > 1:
        value.value = value.value[:-1]
    return value


async def serve(port: int, sizes: list[int]) -> None:
    """Serve until the process is ended."""
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(
            Echo(sizes).Echo,
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


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), json.loads(sys.argv[2])))
