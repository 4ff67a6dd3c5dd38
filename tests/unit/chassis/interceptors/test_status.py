"""The rich status made from a domain error."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from chassis import errors
from chassis.interceptors.status import code_of, to_status

KINDS = [
    getattr(errors, name)
    for name in "".join(code.name.title().replace("_", "") + " " for code in grpc.StatusCode).split()
    if hasattr(errors, name)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_kind_has_the_code_of_its_name(kind: type[errors.ServiceError]) -> None:
    """Kinds are named as gRPC names its codes, so the table can be read without looking."""
    error: Any = type("Fact", (kind,), {"reason": "INTERNAL"})
    assert code_of(error.__new__(error)).name.replace("_", "") == kind.__name__.upper()


def test_every_kind_is_in_the_table() -> None:
    """A kind added without a code would leave as INTERNAL."""
    direct = {kind for kind in errors.ServiceError.__subclasses__() if kind.__module__ == "chassis.errors"}
    assert direct == set(KINDS)


def test_a_message_and_its_variables_are_cut_to_a_length_that_travels() -> None:
    """What repeats the request cannot grow the headers without bound."""
    status = to_status(errors.InvalidFields.of("x" * 10_000, "is unknown", "FIELD"), "r-1")
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (len(status.message), len(info.metadata["fields"])) == (500, 500)


def test_every_status_names_the_call() -> None:
    """Whoever reports an error quotes the request id, also where the trailing metadata is lost (AIP-193)."""
    request = error_details_pb2.RequestInfo()
    assert to_status(errors.InternalError(), "r-1").details[1].Unpack(request)
    assert request.request_id == "r-1"


def test_what_has_no_value_is_no_metadata() -> None:
    """A key without a value is left out, not sent as the word None; a request that cannot be read names no field."""
    assert errors.InvalidFields(()).metadata == {}
    assert str(errors.InvalidFields(())) == "invalid request"
