"""The exceptions of the client: one for each reason that the services answer, all under ``VibeworkError``.

    >>> from vibework.client import errors
    >>> issubclass(errors.EmailTaken, errors.VibeworkError)
    True
    >>> errors.by_reason("EMAIL_TAKEN") is errors.EmailTaken
    True

``ServiceUnreachable`` is for calls that no service answered.
"""

from __future__ import annotations

from vibework.client._failure import (
    CallCancelled,
    FieldViolation,
    MisusedClient,
    ServiceUnreachable,
    UnknownReason,
    VibeworkError,
)
from vibework.client._generated.reasons import *  # noqa: F403
from vibework.client._generated.reasons import BY_REASON
from vibework.client._generated.reasons import __all__ as _of_reasons


def by_reason(reason: str) -> type[VibeworkError] | None:
    """Return the exception of a reason, such as ``EMAIL_TAKEN``; None for one that this version does not know."""
    return BY_REASON.get(reason)


__all__ = [  # noqa: PLE0604
    "CallCancelled",
    "FieldViolation",
    "MisusedClient",
    "ServiceUnreachable",
    "UnknownReason",
    "VibeworkError",
    "by_reason",
    *_of_reasons,
]
