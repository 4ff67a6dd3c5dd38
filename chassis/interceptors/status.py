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
from chassis.contract.localization import Catalogue
from chassis.interceptors.headerlist import cut, room_for_details

DOMAIN: Final = "vibework"
DETAILS_KEY: Final = "grpc-status-details-bin"
# In the metadata of an error whose violations do not all fit: how many are missing.
LEFT_OUT: Final = "violations_left_out"
# Of a violation, of which one always fits: bytes of its field and of its description; and of whatever is in another
# language.
MAX_FIELD_BYTES: Final = 250
MAX_DESCRIPTION_BYTES: Final = 300
MAX_LOCALIZED_BYTES: Final = 200
# Bytes for the number of violations that are missing, and for what protobuf puts around the others.
_RESERVED: Final = 128
# Of a violation, with its reason.
_LARGEST_VIOLATION: Final = MAX_FIELD_BYTES + MAX_DESCRIPTION_BYTES + 256

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


def to_status(error: errors.ServiceError, request_id: str, catalogue: Catalogue | None = None) -> status_pb2.Status:
    """Build the ``google.rpc.Status`` of an error that ended the call ``request_id``; ``catalogue``: what people read.

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
    if catalogue is not None:
        # The first violation has to fit beside the message for people.
        beside = _LARGEST_VIOLATION if error.violations else 0
        _localize(status, catalogue, info, _room(status, request_id) - beside)
    if error.violations:
        told = _bad_request(error.violations, _room(status, request_id), catalogue)
        if left_out := len(error.violations) - len(told.field_violations):
            info.metadata[LEFT_OUT] = str(left_out)
            status.details[0].Pack(info)
        status.details.add().Pack(told)
    return status


def _error_info(error: errors.ServiceError) -> error_details_pb2.ErrorInfo:
    metadata = {key: cut(value) for key, value in error.metadata.items()}
    return error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)


def _bad_request(
    violations: tuple[errors.FieldViolation, ...], room: int, catalogue: Catalogue | None
) -> error_details_pb2.BadRequest:
    told = error_details_pb2.BadRequest()
    for violation in violations:
        added = told.field_violations.add(
            field=cut(violation.field, most=MAX_FIELD_BYTES),
            description=cut(violation.description, most=MAX_DESCRIPTION_BYTES),
            reason=violation.reason,
        )
        if told.ByteSize() > room:
            del told.field_violations[-1]
            break
        if catalogue is not None and (text := catalogue.of_rule(violation.reason, violation.description)):
            added.localized_message.locale = catalogue.locale
            added.localized_message.message = cut(text, most=MAX_LOCALIZED_BYTES)
            if told.ByteSize() > room:
                # The rule is told to programs all the same.
                added.ClearField("localized_message")
    return told


def _room(status: status_pb2.Status, request_id: str) -> int:
    """Return how many bytes of details a status may still get."""
    return room_for_details(status.message, request_id) - status.ByteSize() - _RESERVED


def _localize(status: status_pb2.Status, catalogue: Catalogue, info: error_details_pb2.ErrorInfo, room: int) -> None:
    """Add the message for people, with the values that programs are told, where there is room for it."""
    if room > MAX_LOCALIZED_BYTES and (text := catalogue.of_reason(info.reason, info.metadata)):
        message = cut(text, most=MAX_LOCALIZED_BYTES)
        status.details.add().Pack(error_details_pb2.LocalizedMessage(locale=catalogue.locale, message=message))
