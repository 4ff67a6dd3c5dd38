"""The one table from a kind of domain error to a gRPC code, and the rich status made from it.

AIP-193: every error carries ``google.rpc.ErrorInfo`` and ``RequestInfo``, by which its line in the log is found;
bad input also ``BadRequest``, and what may be repeated ``RetryInfo``. They travel in the trailing metadata
``grpc-status-details-bin``.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from chassis import errors

DOMAIN: Final = "vibework"
DETAILS_KEY: Final = "grpc-status-details-bin"
# HTTP/2 peers commonly refuse header lists over 8 KiB; the message and other metadata need room too.
MAX_DETAILS_BYTES: Final = 6 * 1024
# Of the message, and of each value in the metadata: both may repeat what the caller sent.
MAX_TEXT_CHARACTERS: Final = 500

_CODES: Final[dict[type[errors.ServiceError], grpc.StatusCode]] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Aborted: grpc.StatusCode.ABORTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Internal: grpc.StatusCode.INTERNAL,
}


def code_of(error: errors.ServiceError) -> grpc.StatusCode:
    """Return the gRPC code of an error's kind; a kind missing from the table is INTERNAL."""
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return grpc.StatusCode.INTERNAL


def to_status(error: errors.ServiceError, request_id: str) -> status_pb2.Status:
    """Build the ``google.rpc.Status`` of an error that ended the call ``request_id``.

    Violations that do not fit into ``MAX_DETAILS_BYTES`` are left out, so that the status always
    arrives; the first ones stay.
    """
    number: int = code_of(error).value[0]
    status = status_pb2.Status(code=number, message=error.message[:MAX_TEXT_CHARACTERS])
    status.details.add().Pack(_error_info(error))
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(retry)
    if error.violations:
        room = MAX_DETAILS_BYTES - status.ByteSize()
        status.details.add().Pack(_bad_request(error.violations, room))
    return status


def _error_info(error: errors.ServiceError) -> error_details_pb2.ErrorInfo:
    metadata = {key: value[:MAX_TEXT_CHARACTERS] for key, value in error.metadata.items()}
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)


def _bad_request(violations: tuple[errors.FieldViolation, ...], room: int) -> error_details_pb2.BadRequest:
    bad_request = error_details_pb2.BadRequest()
    for violation in violations:
        bad_request.field_violations.add(
            field=violation.field, description=violation.description, reason=violation.reason
        )
        if bad_request.ByteSize() > room:
            del bad_request.field_violations[-1]
            break
    return bad_request
