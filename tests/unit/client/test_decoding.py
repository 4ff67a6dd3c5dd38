"""Errors of the services become exceptions that programs can read."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, LocalizedMessage, RequestInfo, RetryInfo
from google.rpc.status_pb2 import Status
from vibework.client import errors
from vibework.client._decoding import DETAILS_KEY, failure_of
from vibework.errors.v1 import ErrorReason


class Failed:
    """A failed call, as grpc tells of it."""

    def __init__(self, code: grpc.StatusCode, text: str, *details: Any, raw: bytes | None = None) -> None:
        self._code, self._text = code, text
        packed = []
        for detail in details:
            packed.append(Packed())
            packed[-1].Pack(detail)
        encoded = Status(code=code.value[0], message=text, details=packed).SerializeToString() if raw is None else raw
        self._metadata = ((DETAILS_KEY, encoded),) if details or raw is not None else ()

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code

    def details(self) -> str:
        """Return the message."""
        return self._text

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        """Return what came behind the answer."""
        return self._metadata


def info(reason: str, domain: str = "vibework", **metadata: str) -> ErrorInfo:
    """Make an ErrorInfo."""
    return ErrorInfo(reason=reason, domain=domain, metadata=metadata)


def test_every_reason_has_its_exception() -> None:
    """`except errors.EmailTaken` works for each reason that the contract names, and for no other."""
    reasons = {name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number}
    for reason in reasons:
        found = failure_of(Failed(grpc.StatusCode.INTERNAL, "text", info(reason)))
        assert type(found) is errors.by_reason(reason)
        assert type(found).__name__.lower() == reason.replace("_", "").lower()
        assert found.reason == reason
        assert isinstance(found, errors.VibeworkError)
    assert errors.by_reason("UNSPECIFIED") is None


def test_everything_that_was_said_is_there() -> None:
    """Metadata, violations, the time to wait, the request's id and the message for people."""
    found = failure_of(
        Failed(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "too many",
            info("RATE_LIMITED", limited_by="account", limit="10"),
            BadRequest(
                field_violations=[BadRequest.FieldViolation(field="email", description="must be one", reason="EMAIL")]
            ),
            RetryInfo(retry_delay=Duration(seconds=2, nanos=500_000_000)),
            RequestInfo(request_id="req-1"),
            LocalizedMessage(locale="pt-BR", message="Muitas tentativas"),
        )
    )
    assert isinstance(found, errors.RateLimited)
    assert found.metadata == {"limited_by": "account", "limit": "10"}
    assert found.retry_after == 2.5
    assert found.request_id == "req-1"
    assert found.localized_message == "Muitas tentativas"
    assert [(each.field, each.reason) for each in found.field_violations] == [("email", "EMAIL")]
    assert str(found) == "RATE_LIMITED: too many; email: must be one"


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (Failed(grpc.StatusCode.UNAVAILABLE, "connection refused"), errors.ServiceUnreachable),
        (Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), errors.DeadlineExceeded),
        (Failed(grpc.StatusCode.CANCELLED, "Cancelled"), errors.CallCancelled),
        (Failed(grpc.StatusCode.RESOURCE_EXHAUSTED, "message larger than max"), errors.UnknownReason),
        (Failed(grpc.StatusCode.NOT_FOUND, "of a newer server", info("BRAND_NEW")), errors.UnknownReason),
        (
            Failed(grpc.StatusCode.NOT_FOUND, "another's", info("EMAIL_TAKEN", "elsewhere")),
            errors.UnknownReason,
        ),
        (Failed(grpc.StatusCode.INTERNAL, "garbage", raw=b"\xff\xff\xff"), errors.UnknownReason),
    ],
)
def test_what_no_service_of_ours_said_has_an_exception_too(failed: Failed, kind: type[Exception]) -> None:
    """gRPC's own errors, those of newer versions and those of proxies never become a wrong reason."""
    assert type(failure_of(failed)) is kind
