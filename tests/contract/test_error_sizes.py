"""Errors of every RPC fit into a header list of 8,192 bytes, counted on the wire as gRPC encodes them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed

from chassis.errors import InvalidFields
from chassis.interceptors.headerlist import MOST_BYTES
from chassis.interceptors.validation import check_of
from tests.contract.fieldpaths import FieldPath, field_paths, method_of
from tests.contract.requests import REQUESTS
from tests.unit.chassis.raw_connection import RawConnection, connected

ENTRY_BYTES = 32
BATCH = "vibework.notifications.v1.NotificationService/BatchCreateNotifications"
# The longest that is taken, of characters that no proxy writes into a log.
REQUEST_ID = (b"x-request-id", b"r" * 128)
PARTY = "\N{PARTY POPPER}"
TEXTS = (PARTY * 255, "%" * 255, PARTY * 5_000, "\n" * 5_000, "")
PATHS = [f"{PARTY * 40}{number}" for number in range(3_000)]
VALUES: dict[str, tuple[Any, ...]] = {
    "string": TEXTS,
    "bytes": (b"", b"x" * 5_000),
    "int32": (-1,),
    "enum": (99,),
    "google.protobuf.FieldMask": (FieldMask(paths=PATHS), FieldMask(paths=[PARTY * 100_000]), FieldMask()),
    "google.protobuf.Timestamp": (Timestamp(nanos=-1),),
    "google.protobuf.Duration": (Duration(seconds=1, nanos=-1),),
    "google.protobuf.Struct": (Struct(fields={PARTY * 9_000: Value(number_value=float("nan"))}),),
}
# Of the requests of an RPC each has its turn.
TURNS = 4
# Elements of each list of a request that breaks every rule at once, and bytes of them: the connection of these tests
# sends a request whole, without asking how much of it may be on its way.
MANY = 60
MANY_BYTES = 12_000


def request_of(rpc: str) -> Any:
    """Return a request that is right."""
    request = message_factory.GetMessageClass(method_of(rpc).input_type)()
    return json_format.ParseDict(REQUESTS[rpc][0], request)


def with_one_wrong(rpc: str) -> Iterator[bytes]:
    """Yield requests that are right but for one field, which is wrong in the ways that make the longest errors."""
    for path in field_paths(method_of(rpc).input_type):
        for value in VALUES.get(path.kind, ()):
            request = request_of(rpc)
            path.put(request, value)
            yield request.SerializeToString()


def with_all_wrong(rpc: str) -> Iterator[bytes]:
    """Yield requests of which all fields are wrong, each with another one set last, which may exclude others."""
    paths = [path for path in field_paths(method_of(rpc).input_type) if path.kind in VALUES]
    for last in (path for path in paths if path.fields[-1].containing_oneof or len(path.fields) > 1):
        request = request_of(rpc)
        for path in (*paths, last):
            path.put(request, VALUES[path.kind][0])
        for path in paths:
            _repeat(path, request)
        yield request.SerializeToString()


def _repeat(path: FieldPath, request: Any) -> None:
    for field in path.fields:
        held = getattr(request, field.name)
        if field.is_repeated and len(held) == 1:
            held.extend([held[0]] * _many(held[0]))
        if field.message_type is None or (field.is_repeated and not held):
            return
        request = held[0] if field.is_repeated else held


def is_followed(rpc: str, request: bytes) -> bool:
    """Say whether a request is right after all, of a stream that then has no end."""
    message = message_factory.GetMessageClass(method_of(rpc).input_type).FromString(request)
    if not method_of(rpc).server_streaming or not hasattr(message, "resume_token") or message.resume_token:
        return False
    try:
        check_of(type(message))(message)
    except InvalidFields:
        return False
    return True


def _many(element: Any) -> int:
    return min(MANY, MANY_BYTES // element.ByteSize()) if isinstance(element, Message) else MANY


async def error_of(connection: RawConnection, rpc: str, request: bytes) -> tuple[int, status_pb2.Status]:
    """Call; return the bytes of the header list, and the status in it, which is empty where there was no error."""
    headers = await connection.answer(connection.call(f"/{rpc}".encode(), [REQUEST_ID], message=request))
    del headers["ended"]
    details = headers.get("grpc-status-details-bin", "")
    assert bool(details) == (headers["grpc-status"] != "0"), headers
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    return sum(len(name) + len(value) + ENTRY_BYTES for name, value in headers.items()), status


@pytest.mark.sampled(24)
@pytest.mark.parametrize("turn", range(TURNS))
@pytest.mark.parametrize("rpc", REQUESTS)
async def test_the_longest_errors_fit(addresses: dict[str, str], rpc: str, turn: int) -> None:
    """However long the texts and lists are that an error repeats; its reason always arrives."""
    service, _, _ = rpc.partition("/")
    port = int(addresses[service.rpartition(".")[0]].rpartition(":")[2])
    requests = islice(chain(with_one_wrong(rpc), with_all_wrong(rpc)), turn, None, TURNS)
    async with connected(port) as connection:
        for request in requests:
            if is_followed(rpc, request):
                continue
            size, status = await error_of(connection, rpc, request)
            assert size < MOST_BYTES, (size, status)
            info = error_details_pb2.ErrorInfo()
            assert not status.code or (status.details[0].Unpack(info) and info.reason), status


@pytest.mark.parametrize("items", [1, 45, 1_000])
async def test_what_is_left_out_is_counted(addresses: dict[str, str], items: int) -> None:
    """The violations told, and the number of the others, are together all that there are."""
    port = int(addresses["vibework.notifications.v1"].rpartition(":")[2])
    request = feed.BatchCreateNotificationsRequest()
    for _ in range(items):
        request.items.items.add().content.SetInParent()
    async with connected(port) as connection:
        size, status = await error_of(connection, BATCH, request.SerializeToString())
    info, told = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert any(detail.Unpack(told) for detail in status.details)
    assert status.details[0].Unpack(info)
    left_out = int(info.metadata.get("violations_left_out", "0"))
    # Of each item: the user, the title, the message and the type.
    assert len(told.field_violations) + left_out == 4 * items
    assert told.field_violations[0].field == "items.items[0].user_id"
    assert (left_out > 0) == (items > 1)
    assert size < MOST_BYTES
