"""How a failed call becomes an exception: by the reason in its details, or by its code where gRPC itself made it."""

from __future__ import annotations

from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from vibework.client import _wire, errors

DETAILS_KEY: Final = "grpc-status-details-bin"
DOMAIN: Final = "vibework"


def failure_of(error: Any) -> errors.VibeworkError:
    """Make an exception of a failed call of grpc or grpc.aio."""
    code, message = error.code() or grpc.StatusCode.UNKNOWN, error.details() or ""
    details = _details_of(error)
    info = details.get("ErrorInfo")
    if info is None or info.domain != DOMAIN:
        return _of_code(code, message)
    kind = errors.by_reason(info.reason) or errors.UnknownReason
    return kind(
        message,
        reason=info.reason,
        code=code,
        metadata={entry.key: entry.value for entry in info.metadata},
        field_violations=_violations(details.get("BadRequest")),
        retry_after=_seconds(details.get("RetryInfo")),
        request_id=getattr(details.get("RequestInfo"), "request_id", ""),
        localized_message=getattr(details.get("LocalizedMessage"), "message", ""),
    )


def _of_code(code: grpc.StatusCode, message: str) -> errors.VibeworkError:
    """Make an exception of an error that gRPC itself made, on this side or on the way."""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(message, reason="DEADLINE_EXCEEDED", code=code)
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.ServiceUnreachable(message, code=code)
    if code is grpc.StatusCode.CANCELLED:
        return errors.CallCancelled(message, code=code)
    return errors.UnknownReason(message, code=code)


def _details_of(error: Any) -> dict[str, Any]:
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            try:
                return _wire.details_of(_wire.status_of(value))
            except DecodeError:
                return {}
    return {}


def _violations(bad_request: Any) -> tuple[errors.FieldViolation, ...]:
    if bad_request is None:
        return ()
    return tuple(
        errors.FieldViolation(each.field, each.description, each.reason, each.localized_message.message)
        for each in bad_request.field_violations
    )


def _seconds(retry_info: Any) -> float | None:
    if retry_info is None:
        return None
    return float(retry_info.retry_delay.seconds + retry_info.retry_delay.nanos / 1e9)
