"""What running servers answer is what the contract says: every service, every RPC, every error."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import Default
from vibework.errors.v1 import ErrorReason

from chassis.errors import InvalidFields
from chassis.interceptors.validation import check_of
from tests.contract.requests import REQUESTS
from tests.contract.servers import Answer, Channels, call, call_raw, reflected
from tests.contract.test_descriptors import PROMISED

# As google/rpc/error_details.proto has it.
# An address is named by no error, since whoever calls logs those.
NAMELESS = {"SUPPRESSION_NOT_FOUND"}
NOT_FOUND = [rpc for rpc, (_, why) in REQUESTS.items() if why.endswith("_NOT_FOUND") and why not in NAMELESS]
VIOLATION_REASON = re.compile(r"[A-Z][A-Z0-9_]{1,61}[A-Z0-9]")
BESIDES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
}


def test_there_is_a_request_for_every_rpc() -> None:
    """The tests below leave no RPC out."""
    assert set(REQUESTS) == {f"{service}/{name}" for service, names in PROMISED.items() for name in names.split()}


@pytest.mark.parametrize("package", ["vibework.users.v1", "vibework.notifications.v1"])
def test_reflection_lists_the_promised_services(channels: Channels, package: str) -> None:
    """grpcurl finds every service of a server, and none besides."""
    promised = {service for service in PROMISED if service.startswith(f"{package}.")}
    assert reflected(channels[package]) == promised | BESIDES


@pytest.mark.parametrize("rpc", REQUESTS)
def test_every_rpc_answers_as_promised(channels: Channels, rpc: str) -> None:
    """A well-formed request is served, or refused for the reason that is true; nothing is UNIMPLEMENTED unseen."""
    request, reason = REQUESTS[rpc]
    answer = _call(channels, rpc, request)
    assert answer.info.reason == reason, answer
    assert (answer.code == "OK") == (not reason)
    if reason:
        _check_error(answer)


@pytest.mark.parametrize("rpc", REQUESTS)
def test_an_empty_request_hears_every_violation(channels: Channels, rpc: str) -> None:
    """A request that breaks rules is INVALID_ARGUMENT and names all the fields at once."""
    expected = _violations_of_an_empty(rpc)
    answer = _call(channels, rpc, {})
    if expected:
        assert (answer.code, answer.info.reason) == ("INVALID_ARGUMENT", "INVALID_FIELDS")
        assert answer.violations == expected
    if answer.code != "OK":
        _check_error(answer)


@pytest.mark.parametrize("rpc", NOT_FOUND)
def test_what_is_not_found_is_named(channels: Channels, rpc: str) -> None:
    """Whoever hears NOT_FOUND reads in the metadata which of the ids in the request it was."""
    request, _ = REQUESTS[rpc]
    assert f'"{dict(_call(channels, rpc, request).info.metadata)["id"]}"' in json.dumps(request)


@pytest.mark.parametrize("package", ["vibework.users.v1", "vibework.notifications.v1"])
def test_an_unknown_method_is_refused_with_its_reason(channels: Channels, package: str) -> None:
    """A caller who is ahead of the server hears METHOD_UNKNOWN, not an error without details."""
    answer = call_raw(channels[package], f"/{package}.FutureService/DoIt", b"", streaming=False)
    assert (answer.code, answer.info.reason) == ("UNIMPLEMENTED", "METHOD_UNKNOWN")


def _call(channels: Channels, rpc: str, request: dict[str, Any]) -> Answer:
    service, name = rpc.split("/")
    return call(channels[service.rsplit(".", 1)[0]], service, name, request)


def _check_error(answer: Answer) -> None:
    told, sent = answer.request_ids
    assert told == sent != ""
    assert all(VIOLATION_REASON.fullmatch(reason) for reason in answer.violated)
    assert answer.info.domain == "vibework"
    assert f"ERROR_REASON_{answer.info.reason}" in dict(ErrorReason.items())
    assert answer.status.message


def _violations_of_an_empty(rpc: str) -> set[str]:
    service, name = rpc.split("/")
    method = Default().FindServiceByName(service).methods_by_name[name]
    try:
        request_class = message_factory.GetMessageClass(method.input_type)
        check_of(request_class)(request_class())
    except InvalidFields as error:
        return {violation.field for violation in error.violations}
    return set()
