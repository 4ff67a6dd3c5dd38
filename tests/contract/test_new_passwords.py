"""Every password that somebody chooses is looked for among common ones, found by the rules of its field.

Generated over the descriptors, so that an RPC to come cannot forget it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from chassis.contract.rules import collector
from tests.contract.fieldpaths import FieldPath, field_paths, method_of
from tests.contract.rendering import answers, comments_of
from tests.contract.requests import PASSWORD, USERS
from tests.contract.servers import Answer, Channels, call_raw

PACKAGE: Final = "vibework.users.v1"
REASON: Final = "PASSWORD_COMPROMISED"
# The lengths of a new password, which no other secret field has.
SHORTEST, LONGEST = 8, 128
COMMON: Final = "Password1"


def request_of(rpc: str) -> Any:
    """Return a request that is right."""
    request: Any = message_factory.GetMessageClass(method_of(f"{PACKAGE}.{rpc}").input_type)()
    json_format.ParseDict(USERS[rpc][0], request)
    return request


def takes(rpc: str, path: FieldPath, length: int) -> bool:
    """Whether a text of this length breaks no rule of a field."""
    request = request_of(rpc)
    path.put(request, "x" * length)
    return path.name not in {broken.field for broken in collector(type(request))(request)}


def new_passwords() -> Iterator[tuple[str, FieldPath]]:
    """Yield each field of a request that holds a new password, by its RPC."""
    for rpc in USERS:
        for path in field_paths(method_of(f"{PACKAGE}.{rpc}").input_type):
            if path.kind == "string" and path.fields[-1].GetOptions().debug_redact:
                lengths = (SHORTEST - 1, SHORTEST, LONGEST, LONGEST + 1)
                if [takes(rpc, path, length) for length in lengths] == [False, True, True, False]:
                    yield rpc, path


FIELDS: Final = dict(new_passwords())


def answered(channels: Channels, rpc: str, password: str) -> Answer:
    """Call with a request that is right but for its new password, perhaps."""
    request = request_of(rpc)
    FIELDS[rpc].put(request, password)
    return call_raw(channels[PACKAGE], f"/{PACKAGE}.{rpc}", request.SerializeToString(), streaming=False)


def test_the_rpcs_that_take_one_are_those_that_promise_to_look(files: dict[str, FileDescriptorProto]) -> None:
    """Whoever reads the comment of an RPC knows whether it may refuse a password as a common one."""
    promised = {
        f"{service.name}/{method.name}"
        for file in files.values()
        for comments in [comments_of(file)]
        for place, service in enumerate(file.service)
        for number, method in enumerate(service.method)
        if REASON in {each for some in answers(comments.get((6, place, 2, number), "")).values() for each in some}
    }
    assert len(FIELDS) >= 5
    assert promised == FIELDS.keys()


@pytest.mark.parametrize("rpc", FIELDS)
def test_a_common_one_is_refused_by_the_name_of_its_field(channels: Channels, rpc: str) -> None:
    """A form knows which of its fields to mark; and the answer repeats no password."""
    answer = answered(channels, rpc, COMMON)
    assert (answer.code, answer.info.reason) == ("INVALID_ARGUMENT", REASON)
    assert (answer.violations, answer.violated) == (frozenset({FIELDS[rpc].name}), frozenset({REASON}))
    assert COMMON.lower() not in str(answer.status).lower()


@pytest.mark.parametrize("rpc", FIELDS)
def test_one_that_has_a_common_one_in_it_is_not(channels: Channels, rpc: str) -> None:
    """A list of whole passwords is no rule about parts of them, which long ones would break for no good reason."""
    assert answered(channels, rpc, f"{PASSWORD} {COMMON}").info.reason != REASON
