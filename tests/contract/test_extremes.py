"""Extremes: every number and time of every RPC, at both ends of its type and beyond, is answered as the contract says.

Generated over the descriptors, so that fields to come are tried, too.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from tests.contract.fieldpaths import FieldPath, field_paths, method_of
from tests.contract.servers import Answer, Channels, call_raw
from tests.contract.test_servers import REQUESTS

# How no call ends, whatever it asks for.
FAULTS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"}
NOT_A_TIME = {"TIMESTAMP_YEARS", "TIMESTAMP_NANOS", "DURATION_SECONDS", "DURATION_NANOS"}

_INT32, _INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
_NUMBERS = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**53 + 2)
_SECONDS = (FIRST_SECOND, LAST_SECOND)
GOOD: dict[str, tuple[Any, ...]] = {
    "google.protobuf.Timestamp": tuple(
        Timestamp(seconds=s, nanos=n) for s in (*_SECONDS, -1, 0) for n in (0, 999_999_999)
    ),
    "google.protobuf.Duration": (
        Duration(),
        Duration(seconds=315_576_000_000, nanos=999_999_999),
        Duration(seconds=-315_576_000_000, nanos=-999_999_999),
        Duration(seconds=1),
    ),
}
BAD: dict[str, tuple[Any, ...]] = {
    "google.protobuf.Timestamp": (
        *(Timestamp(seconds=seconds) for seconds in (FIRST_SECOND - 1, LAST_SECOND + 1, *_INT64)),
        *(Timestamp(seconds=1_800_000_000, nanos=nanos) for nanos in (-1, -5, 1_000_000_000, 2_000_000_000, *_INT32)),
        *(Timestamp(seconds=seconds, nanos=nanos) for seconds in _SECONDS for nanos in (-1, 1_000_000_000)),
    ),
    "google.protobuf.Duration": (
        *(Duration(seconds=seconds) for seconds in (315_576_000_001, -315_576_000_001, *_INT64)),
        *(Duration(seconds=2, nanos=nanos) for nanos in (-5, 1_000_000_000, 2_000_000_000, *_INT32)),
        Duration(seconds=-2, nanos=5),
    ),
}
VALUES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("int32", "sint32", "sfixed32"), (*_INT32, -1, 0, 1)),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), (*_INT64, -1, 0, 1)),
    **dict.fromkeys(("uint32", "fixed32"), (0, 2**32 - 1)),
    **dict.fromkeys(("uint64", "fixed64"), (0, 2**64 - 1)),
    **dict.fromkeys(("double", "float"), _NUMBERS),
    "enum": (*_INT32, -1, 0, 1, 99),
    "google.protobuf.Struct": tuple(Struct(fields={"n": Value(number_value=number)}) for number in _NUMBERS),
    "google.protobuf.Timestamp": GOOD["google.protobuf.Timestamp"],
    "google.protobuf.Duration": GOOD["google.protobuf.Duration"],
}


def paths_of(rpc: str, kinds: dict[str, tuple[Any, ...]]) -> list[FieldPath]:
    """Return the fields of an RPC's request that are of one of these types."""
    return [path for path in field_paths(method_of(rpc).input_type) if path.kind in kinds]


def answered(channels: Channels, rpc: str, path: FieldPath, value: Any) -> Answer:
    """Call with a request that is right but for one field; what is answered, JSON can say."""
    method = method_of(rpc)
    request: Any = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict(REQUESTS[rpc][0], request)
    path.put(request, value)
    channel = channels[rpc.partition("/")[0].rpartition(".")[0]]
    answer = call_raw(channel, f"/{rpc}", request.SerializeToString(), streaming=method.server_streaming)
    if answer.code == "OK":
        json_format.MessageToJson(message_factory.GetMessageClass(method.output_type).FromString(answer.response))
    return answer


@pytest.mark.parametrize("rpc", [rpc for rpc in REQUESTS if paths_of(rpc, VALUES)])
def test_no_number_and_no_time_is_a_fault(channels: Channels, rpc: str) -> None:
    """Each end of each type is served, or refused by the name of its field; and a time that is one is taken for one."""
    for path in paths_of(rpc, VALUES):
        for value in VALUES[path.kind]:
            answer = answered(channels, rpc, path, value)
            assert answer.code not in FAULTS, (path.name, value, answer)
            assert not answer.violated & NOT_A_TIME, (path.name, value, answer)
            if answer.info.reason == "INVALID_FIELDS" and path.name not in {"batch", "lookup"}:
                assert answer.violations, (path.name, value, answer)


@pytest.mark.parametrize("rpc", [rpc for rpc in REQUESTS if paths_of(rpc, BAD)])
def test_a_time_that_is_none_is_refused_by_name(channels: Channels, rpc: str) -> None:
    """Seconds and nanos beyond their type are the caller's to mend, in both services and in every field alike."""
    for path in paths_of(rpc, BAD):
        for value in BAD[path.kind]:
            answer = answered(channels, rpc, path, value)
            assert (answer.code, answer.info.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS"), (path.name, value)
            assert path.name in answer.violations, (path.name, value, answer)
            assert answer.violated & NOT_A_TIME, (path.name, value, answer)


def test_there_are_times_in_both_services_and_spans() -> None:
    """The tests above find what they are about."""
    names = {f"{rpc.rpartition('/')[2]}: {path.name}" for rpc in REQUESTS for path in paths_of(rpc, BAD)}
    assert names >= {
        "ListUsers: filter.created_after",
        "SignInWithAccount: account.tokens.access_token_expires_at",
        "BatchCreateNotifications: items.items[0].content.scheduled_at",
        "CountNotifications: filters[0].created_before",
        "MarkAllNotifications: as_of_time",
        "WatchNotifications: heartbeat_interval",
    }
    assert {path.kind for rpc in REQUESTS for path in paths_of(rpc, VALUES)} >= {"int32", "enum", *BAD}
