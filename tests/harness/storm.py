"""Many calls at once, half of them by callers who leave: at deadlines of a few milliseconds, or by cancelling."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default

from notifications_service.notification import unbuilt
from tests.harness.patience import PATIENCE_SECONDS
from users_service import unbuilt as users_unbuilt

IN_FLIGHT: Final = 32
# Seconds after which the others leave.
SHORTEST, LONGEST = 0.002, 0.060
# How no call with time enough may end, whatever becomes of its neighbours.
BROKEN: Final = frozenset({"CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "UNAVAILABLE", "UNKNOWN"})

# Requests whose id is refused so far.
WITHOUT_IDS: Final = {
    kind.DESCRIPTOR.name
    for kind, fields in {**users_unbuilt.FIELDS, **unbuilt.FIELDS}.items()
    if "request_id" in fields
}

Requests = Mapping[str, tuple[dict[str, Any], str]]

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Rpc:
    """A method, found by its descriptor, and a request in JSON that it takes."""

    method: MethodDescriptor
    request: Mapping[str, Any]

    @property
    def path(self) -> str:
        """The path that the method is called by."""
        return f"/{self.method.containing_service.full_name}/{self.method.name}"

    def fresh(self) -> bytes:
        """Return the request with an id, and an address, that no request had before."""
        values = dict(self.request)
        if "request_id" in self.method.input_type.fields_by_name and self.method.input_type.name not in WITHOUT_IDS:
            values["requestId"] = str(uuid.uuid4())
        if isinstance(values.get("email"), str):
            values["email"] = f"{next(_numbers)}-{values['email']}"
        message = message_factory.GetMessageClass(self.method.input_type)()
        return json_format.ParseDict(values, message).SerializeToString()


def rpcs_of(package: str, requests: Requests, known: Mapping[str, str]) -> list[Rpc]:
    """Return every RPC of a package, each with its request, in which ``known`` replaces made-up values by real ones.

    Fails where an RPC has no request.
    """
    services = {f"{package}.{name.partition('/')[0]}" for name in requests}
    methods = [method for name in sorted(services) for method in Default().FindServiceByName(name).methods]
    return [
        Rpc(method, _request(requests[f"{method.containing_service.name}/{method.name}"][0], known))
        for method in methods
    ]


def _request(made_up: dict[str, Any], known: Mapping[str, str]) -> dict[str, Any]:
    text = json.dumps(made_up)
    for old, new in known.items():
        text = text.replace(json.dumps(old), json.dumps(new))
    request: dict[str, Any] = json.loads(text)
    return request


async def storm(channel: grpc.aio.Channel, rpcs: Sequence[Rpc], calls: int) -> Counter[tuple[str, str]]:
    """Make ``calls`` calls of each RPC, ``IN_FLIGHT`` at once; return how those ended whose callers waited."""
    ended: Counter[tuple[str, str]] = Counter()
    todo = iter([(number, rpc) for number in range(calls) for rpc in rpcs])

    async def caller() -> None:
        for number, rpc in todo:
            # By turns of the whole list, so that each RPC has callers of both kinds.
            if number % 2:
                ended[rpc.method.name, await call(channel, rpc, rpc.fresh())] += 1
            else:
                await leave(channel, rpc, number)

    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return ended


async def call(channel: grpc.aio.Channel, rpc: Rpc, request: bytes, seconds: float = PATIENCE_SECONDS) -> str:
    """Make a call and return its code; a stream's first message will do."""
    method: Any = (channel.unary_stream if rpc.method.server_streaming else channel.unary_unary)(rpc.path)
    answer = method(request, timeout=seconds)
    try:
        await (answer.read() if rpc.method.server_streaming else answer)
    except grpc.aio.AioRpcError as error:
        return error.code().name
    finally:
        # gRPC does not end a call by itself whose caller was cancelled (grpc#43462).
        answer.cancel()
    return "OK"


async def leave(channel: grpc.aio.Channel, rpc: Rpc, number: int) -> None:
    """Make a call and leave it: by a deadline that passes, or, where four divides ``number``, by cancelling it."""
    seconds = random.uniform(SHORTEST, LONGEST)
    if number % 4:
        await call(channel, rpc, rpc.fresh(), seconds)
        return
    left = asyncio.ensure_future(call(channel, rpc, rpc.fresh()))
    await asyncio.wait([left], timeout=seconds)
    left.cancel()
    await asyncio.wait([left])


def broken(ended: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    """Return those of the ends that no call with time enough may have."""
    return {end: count for end, count in ended.items() if end[1] in BROKEN}
