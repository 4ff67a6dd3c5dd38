"""Extremes: every number and time of every RPC, at both ends of its type and beyond, is answered as the contract says.

Generated over the descriptors, so that fields to come are tried, too.
"""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import json_format, message_factory

from chassis.interceptors.encoded_rules import ignores_items
from tests.contract.extremes import BAD, VALUES
from tests.contract.fieldpaths import FieldPath, field_paths, method_of
from tests.contract.requests import REQUESTS
from tests.contract.servers import Answer, Channels, call_raw

# How no call ends, whatever it asks for.
FAULTS = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"}
NOT_A_TIME = {"TIMESTAMP_YEARS", "TIMESTAMP_NANOS", "DURATION_SECONDS", "DURATION_NANOS"}


def paths_of(rpc: str, kinds: dict[str, tuple[Any, ...]]) -> list[FieldPath]:
    """Return the fields of an RPC's request that are of one of these types."""
    return [path for path in field_paths(method_of(rpc).input_type) if path.kind in kinds]


def response_class(rpc: str) -> Any:
    """Return the class of an RPC's response."""
    return message_factory.GetMessageClass(method_of(rpc).output_type)


def answered(channels: Channels, rpc: str, path: FieldPath, value: Any) -> Answer:
    """Call with a request that is right but for one field; what is answered, JSON can say."""
    method = method_of(rpc)
    request: Any = message_factory.GetMessageClass(method.input_type)()
    json_format.ParseDict(REQUESTS[rpc][0], request)
    path.put(request, value)
    channel = channels[rpc.partition("/")[0].rpartition(".")[0]]
    answer = call_raw(channel, f"/{rpc}", request.SerializeToString(), streaming=method.server_streaming)
    if answer.code == "OK":
        json_format.MessageToJson(response_class(rpc).FromString(answer.response))
    return answer


@pytest.mark.sampled(12)
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


@pytest.mark.sampled(6)
@pytest.mark.parametrize("rpc", [rpc for rpc in REQUESTS if paths_of(rpc, BAD)])
def test_a_time_that_is_none_is_refused_by_name(channels: Channels, rpc: str) -> None:
    """Seconds and nanos beyond their type are the caller's to mend, in both services and in every field alike."""
    for path in paths_of(rpc, BAD):
        for value in BAD[path.kind]:
            answer = answered(channels, rpc, path, value)
            if ignores_items(path.fields[0]):
                # Each item is judged by itself, and the answer says of each what became of it.
                response = response_class(rpc).FromString(answer.response)
                assert [f"users[0].{outcome.field}" for outcome in response.outcomes] == [path.name], (value, answer)
                continue
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
