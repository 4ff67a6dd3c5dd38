"""The base of all exceptions of the client, and those that stand for no reason of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """A field of the request that breaks a rule: its path, what is wrong for people, and the rule for programs."""

    field: str
    description: str
    reason: str
    # The description in the language that was asked for; empty where there is none.
    localized: str = ""


class VibeworkError(Exception):
    """A call that failed. Each reason of the contract has a subclass in ``vibework.client.errors``."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        code: grpc.StatusCode = grpc.StatusCode.UNKNOWN,
        metadata: Mapping[str, str] | None = None,
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
        request_id: str = "",
        localized_message: str = "",
    ) -> None:
        """Keep what the service said.

        ``reason``: name of the reason, for example ``EMAIL_TAKEN``; empty where the service did not answer.
        ``metadata``: the variables of the message, under the keys that the reason documents. ``retry_after``: seconds
        after which the call may be repeated; None: repeating it as it is does not help. ``request_id``: by which the
        service's log finds the call.
        """
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.code = code
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.field_violations = field_violations
        self.retry_after = retry_after
        self.request_id = request_id
        self.localized_message = localized_message

    def __str__(self) -> str:
        violations = "".join(f"; {each.field}: {each.description}" for each in self.field_violations)
        return f"{self.reason or self.code.name}: {self.message}{violations}"


class ServiceUnreachable(VibeworkError):
    """No answer: no connection could be made, or it was lost. The call may have taken effect."""


class CallCancelled(VibeworkError):
    """The call was cancelled, here or on its way."""


class UnknownReason(VibeworkError):
    """An error with a reason that this version of the client does not know, or with none."""


class MisusedClient(VibeworkError):
    """The client was used as it cannot be, for example after it was closed."""
