"""Conversion of suppressions to the contract's, and of its filters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from vibework.notifications.v1 import delivery_pb2, delivery_service_pb2

from chassis.contract import timestamps
from notifications_service.notification.times import ceiling
from notifications_service.suppressions.model import Suppression, SuppressionFilter, SuppressionReason

_REASONS: Final = {
    delivery_pb2.SUPPRESSION_REASON_BOUNCE: SuppressionReason.BOUNCE,
    delivery_pb2.SUPPRESSION_REASON_COMPLAINT: SuppressionReason.COMPLAINT,
}
_TO_PROTO: Final = {reason: number for number, reason in _REASONS.items()}


def to_message(found: Suppression) -> delivery_pb2.Suppression:
    """Convert a suppression."""
    message = delivery_pb2.Suppression(
        email_address=found.address,
        reason=_TO_PROTO[found.reason],
        delivery_id=found.delivery_id,
        detail=found.detail,
    )
    timestamps.assign(message.created_at, found.created_at)
    timestamps.assign(message.expires_at, found.expires_at)
    return message


def reasons_of(numbers: Iterable[delivery_pb2.SuppressionReason.ValueType]) -> frozenset[SuppressionReason]:
    """Convert reasons; none: all of them."""
    return frozenset(_REASONS[number] for number in numbers) or frozenset(SuppressionReason)


def filter_of(message: delivery_service_pb2.SuppressionFilter) -> SuppressionFilter:
    """Convert a filter."""
    return SuppressionFilter(
        message.email_address,
        reasons_of(message.reasons),
        ceiling(message.created_after) if message.HasField("created_after") else None,
        ceiling(message.created_before) if message.HasField("created_before") else None,
    )
