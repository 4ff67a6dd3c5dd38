"""Domain errors: facts that a caller can act on, named by a reason and free of any transport.

A kind (``NotFound``, ``Aborted`` …) says how a caller should react; ``chassis.interceptors.status`` turns it into
a gRPC code. A service subclasses a kind and names the fact::

    class EmailTaken(AlreadyExists):
        reason = "EMAIL_TAKEN"

``reason`` is a value of ``vibework.errors.v1.ErrorReason`` without its ``ERROR_REASON_`` prefix. A fact with variables
names them in ``keys`` and takes them where it is raised (``EtagMismatch(current_etag)``).
The message and the metadata reach the caller: never put driver text, SQL, tokens, passwords or addresses there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One broken rule of one request field (AIP-193, ``google.rpc.BadRequest``).

    ``reason`` names the rule, for programs: the id of protovalidate's rule in capitals (``STRING_EMAIL``), or one
    that the comment of ``ERROR_REASON_INVALID_FIELDS`` lists.
    """

    field: str
    description: str
    reason: str


class ServiceError(Exception):
    """The base of every error that a caller is meant to see."""

    reason: ClassVar[str]
    # The attributes that are sent as ``ErrorInfo.metadata``; the comment of the reason documents them.
    keys: ClassVar[tuple[str, ...]] = ()
    # The message, with ``keys`` in braces: it has no other variables (AIP-193). Empty: the words of the reason.
    template: ClassVar[str] = ""
    default_retry_after: ClassVar[timedelta | None] = None

    def __init__(self, *, violations: Iterable[FieldViolation] = (), retry_after: timedelta | None = None) -> None:
        super().__init__()
        self.violations = tuple(violations)
        self.retry_after = retry_after or self.default_retry_after

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        """What people read."""
        template = self.template or self.reason.lower().replace("_", " ")
        return template.format_map(self.metadata) if self.keys else template

    @property
    def metadata(self) -> dict[str, str]:
        """What programs read beside the reason: each of ``keys`` whose attribute is not None."""
        values = ((key, getattr(self, key)) for key in self.keys)
        return {key: str(value) for key, value in values if value is not None}


class InvalidArgument(ServiceError):
    """The request is wrong whatever the state of the system."""


class NotFound(ServiceError):
    """The named resource does not exist, or not for this caller."""

    keys: ClassVar[tuple[str, ...]] = ("id",)

    def __init__(self, id_: str | None, *, violations: Iterable[FieldViolation] = ()) -> None:
        """``id_``: that of the request; None where it asked by something else, or for several."""
        super().__init__(violations=violations)
        self.id = id_


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
    keys = ("fields",)
    template = "invalid fields: {fields}"

    def __init__(self, violations: Iterable[FieldViolation]) -> None:
        """``violations``: none where the request cannot be read and the field at fault is not known."""
        super().__init__(violations=violations)
        self.fields = ", ".join(dict.fromkeys(item.field for item in self.violations if item.field)) or None

    @classmethod
    def of(cls, field: str, description: str, reason: str) -> InvalidFields:
        """Make the error for a single field."""
        return cls((FieldViolation(field, description, reason),))

    @property
    def message(self) -> str:
        """What people read."""
        return super().message if self.fields else "invalid request"


class Overloaded(ResourceExhausted):
    """The server refuses work that it could not finish in time."""

    reason = "OVERLOADED"
    keys = ("limited_by",)
    template = "the server is at its limit of concurrent {limited_by}"
    default_retry_after = timedelta(milliseconds=250)

    def __init__(self, limited_by: Literal["calls", "streams", "connections"] = "calls") -> None:
        super().__init__()
        self.limited_by = limited_by


class PoolFull(Overloaded):
    """No connection to the database came free in time."""

    template = "all connections to the database are in use"

    def __init__(self) -> None:
        super().__init__("connections")


class MetadataTooLarge(ResourceExhausted):
    """A call came with more metadata than is taken."""

    reason = "METADATA_TOO_LARGE"
    template = "the metadata of the call is larger than 16 KiB, with 32 bytes for each entry"


class AnswerTooLarge(ResourceExhausted):
    """The answer is larger than a message of this server may be; repeating the call does not help."""

    reason = "ANSWER_TOO_LARGE"
    template = "the answer is larger than a message may be; ask for less"


class RateLimited(ResourceExhausted):
    """One caller or one account asks too often."""

    reason = "RATE_LIMITED"
    keys = ("limited_by", "limit", "window_seconds")
    template = "too many attempts"

    def __init__(self, limited_by: str, limit: int, window: timedelta, retry_after: timedelta) -> None:
        """``limited_by``: whose attempts are counted, of which ``limit`` are allowed within a ``window``."""
        super().__init__(retry_after=retry_after)
        self.limited_by = limited_by
        self.limit = limit
        self.window_seconds = round(window.total_seconds())


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached or did not answer in time."""

    reason = "DATABASE_UNAVAILABLE"
    template = "the database is not available"
    default_retry_after = timedelta(seconds=1)


class ShuttingDown(Unavailable):
    """This process is about to end; another one answers."""

    reason = "SHUTTING_DOWN"
    template = "the server is shutting down"
    default_retry_after = timedelta(milliseconds=100)


class ConflictRetry(Aborted):
    """The database gave up this transaction for another one (deadlock, lock wait)."""

    reason = "CONFLICT_RETRY"
    template = "lost a race for the same rows; repeat the call"
    default_retry_after = timedelta(milliseconds=50)


class EtagMismatch(Aborted):
    """The resource changed since the caller read it (AIP-154)."""

    reason = "ETAG_MISMATCH"
    keys = ("current_etag",)
    template = "the resource was changed by someone else; read it again"

    def __init__(self, current_etag: str) -> None:
        super().__init__()
        self.current_etag = current_etag


class CallDeadlineExceeded(DeadlineExceeded):
    """The call used up its deadline or the server's cap on it."""

    reason = "DEADLINE_EXCEEDED"
    template = "the call took longer than its deadline"


class NotImplementedYet(Unimplemented):
    """The method, or what a field of the request asks for, is part of the contract and not built yet."""

    reason = "NOT_IMPLEMENTED"
    keys = ("field",)
    template = "not implemented yet: {field}"

    def __init__(self, field: str | None) -> None:
        """``field``: that asks for what is not built; None: the whole method is not."""
        super().__init__()
        self.field = field

    @property
    def message(self) -> str:
        """What people read."""
        return super().message if self.field else "not implemented yet"


class MethodUnknown(Unimplemented):
    """No service of this server has such a method."""

    reason = "METHOD_UNKNOWN"
    template = "unknown method"


class InternalError(Internal):
    """Whatever was not foreseen; the text says nothing of the cause."""

    reason = "INTERNAL"
    template = "internal error; the log has the cause under the request id"
