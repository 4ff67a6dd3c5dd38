"""Domain errors: facts that a caller can act on, named by a reason and free of any transport.

A kind (``NotFound``, ``Aborted`` …) says how a caller should react; ``chassis.interceptors.status`` turns it into
a gRPC code. A service subclasses a kind and names the fact::

    class EmailTaken(AlreadyExists):
        reason = "EMAIL_TAKEN"

``reason`` is a value of ``vibework.errors.v1.ErrorReason`` without its ``ERROR_REASON_`` prefix.
The message and the metadata reach the caller: never put driver text, SQL, tokens or passwords there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule of one request field (AIP-193, ``google.rpc.BadRequest``)."""

    field: str
    description: str
    reason: str = ""


class ServiceError(Exception):
    """The base of every error that a caller is meant to see."""

    reason: ClassVar[str]
    default_message: ClassVar[str] = ""
    default_retry_after: ClassVar[timedelta | None] = None

    def __init__(
        self,
        message: str = "",
        *,
        metadata: Mapping[str, str] | None = None,
        violations: Iterable[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        self.message = message or self.default_message or self.reason.lower().replace("_", " ")
        self.metadata: Mapping[str, str] = metadata or {}
        self.violations = tuple(violations)
        self.retry_after = retry_after or self.default_retry_after
        super().__init__(self.message)


class InvalidArgument(ServiceError):
    """The request is wrong whatever the state of the system."""


class NotFound(ServiceError):
    """The named resource does not exist, or not for this caller."""


class AlreadyExists(ServiceError):
    """The resource to be made is there already."""


class FailedPrecondition(ServiceError):
    """The state of the system must change first; a retry alone does not help."""


class Aborted(ServiceError):
    """A race was lost; the caller may read again and repeat."""


class Unauthenticated(ServiceError):
    """The credential is missing, wrong or expired."""


class PermissionDenied(ServiceError):
    """The caller is known and may not do this."""


class ResourceExhausted(ServiceError):
    """A limit was reached; ``retry_after`` says when to try again."""


class Unavailable(ServiceError):
    """Something the answer needs is away for now; retry with backoff."""


class DeadlineExceeded(ServiceError):
    """The time allowed for the call ran out; it may or may not have taken effect."""


class Unimplemented(ServiceError):
    """The method is not offered."""


class OutOfRange(ServiceError):
    """The position asked for lies beyond what is kept."""


class DataLoss(ServiceError):
    """Stored data cannot be read back."""


class Internal(ServiceError):
    """A defect of ours."""


class InvalidFields(InvalidArgument):
    """One or more request fields break their rules; every violation is listed."""

    reason = "INVALID_FIELDS"

    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        found = tuple(violations)
        names = ", ".join(dict.fromkeys(item.field for item in found if item.field))
        super().__init__(f"invalid fields: {names}" if names else "invalid request", violations=found)

    @classmethod
    def of(cls, field: str, description: str, reason: str = "") -> InvalidFields:
        """Make the error for a single field."""
        return cls((FieldViolation(field, description, reason),))


class Overloaded(ResourceExhausted):
    """The server refuses work that it could not finish in time."""

    reason = "OVERLOADED"
    default_message = "the server is at its limit of concurrent calls"
    default_retry_after = timedelta(milliseconds=250)


class MetadataTooLarge(ResourceExhausted):
    """A call came with more metadata than is taken."""

    reason = "METADATA_TOO_LARGE"
    default_message = "the metadata of the call is larger than 16 KiB, with 32 bytes for each entry"


class AnswerTooLarge(ResourceExhausted):
    """The answer is larger than a message of this server may be; repeating the call does not help."""

    reason = "ANSWER_TOO_LARGE"
    default_message = "the answer is larger than a message may be; ask for less"


class RateLimited(ResourceExhausted):
    """One caller or one account asks too often."""

    reason = "RATE_LIMITED"
    default_message = "too many attempts"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or did not answer in time."""

    reason = "DATABASE_UNAVAILABLE"
    default_message = "the database is not available"
    default_retry_after = timedelta(seconds=1)


class ShuttingDown(Unavailable):
    """This process is about to end; another one answers."""

    reason = "SHUTTING_DOWN"
    default_message = "the server is shutting down"
    default_retry_after = timedelta(milliseconds=100)


class ConflictRetry(Aborted):
    """The database gave up this transaction for another one (deadlock, lock wait)."""

    reason = "CONFLICT_RETRY"
    default_message = "lost a race for the same rows; repeat the call"
    default_retry_after = timedelta(milliseconds=50)


class EtagMismatch(Aborted):
    """The resource changed since the caller read it (AIP-154)."""

    reason = "ETAG_MISMATCH"
    default_message = "the resource was changed by someone else; read it again"


class CallDeadlineExceeded(DeadlineExceeded):
    """The call used up its deadline or the server's cap on it."""

    reason = "DEADLINE_EXCEEDED"
    default_message = "the call took longer than its deadline"


class NotImplementedYet(Unimplemented):
    """The method is part of the contract and not built yet."""

    reason = "NOT_IMPLEMENTED"
    default_message = "not implemented yet"


class MethodUnknown(Unimplemented):
    """No service of this server has such a method."""

    reason = "METHOD_UNKNOWN"
    default_message = "unknown method"


class InternalError(Internal):
    """Whatever was not foreseen; the text says nothing of the cause."""

    reason = "INTERNAL"
    default_message = "internal error; the log has the cause under the request id"
