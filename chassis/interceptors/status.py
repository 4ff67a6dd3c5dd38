"""The one table from a kind of domain error to a gRPC code, and the rich status made from it.

AIP-193: every error carries ``google.rpc.ErrorInfo`` and ``RequestInfo``, by which its line in the log is found;
bad input also ``BadRequest``, and what may be repeated ``RetryInfo``. They travel in the trailing metadata
``grpc-status-details-bin``, which has as much room as ``headerlist`` says.
"""

from __future__ import annotations

from typing import Final

import grpc
from google.rpc import error_details_pb2, status_pb2

from chassis import errors
from chassis.interceptors.headerlist import cut, room_for_details

DOMAIN: Final = "vibework"
DETAILS_KEY: Final = "grpc-status-details-bin"
# In the metadata of an error whose violations do not all fit: how many are missing.
LEFT_OUT: Final = "violations_left_out"
# Of a violation, of which one always fits: bytes of its field and of its description.
MAX_FIELD_BYTES: Final = 250
MAX_DESCRIPTION_BYTES: Final = 300
# Bytes for the number of violations that are missing, and for what protobuf puts around the others.
_RESERVED: Final = 128

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

    Of violations there are as many as fit, the first ones, and the number of those that are missing is in the metadata.
    """
    number: int = code_of(error).value[0]
    status = status_pb2.Status(code=number, message=cut(error.message))
    info = _error_info(error)
    status.details.add().Pack(info)
    status.details.add().Pack(error_details_pb2.RequestInfo(request_id=request_id))
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromTimedelta(error.retry_after)
        status.details.add().Pack(retry)
    if error.violations:
        room = room_for_details(status.message, request_id) - status.ByteSize() - _RESERVED
        told = _bad_request(error.violations, room)
        if left_out := len(error.violations) - len(told.field_violations):
            info.metadata[LEFT_OUT] = str(left_out)
            status.details[0].Pack(info)
        status.details.add().Pack(told)
    return status


def _error_info(error: errors.ServiceError) -> error_details_pb2.ErrorInfo:
    metadata = {key: cut(value) for key, value in error.metadata.items()}
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)


def _bad_request(violations: tuple[errors.FieldViolation, ...], room: int) -> error_details_pb2.BadRequest:
    told = error_details_pb2.BadRequest()
    for violation in violations:
        told.field_violations.add(
            field=cut(violation.field, most=MAX_FIELD_BYTES),
            description=cut(violation.description, most=MAX_DESCRIPTION_BYTES),
            reason=violation.reason,
        )
        if told.ByteSize() > room:
            del told.field_violations[-1]
            break
    return told
