"""Conversion of stored deliveries to the `Delivery` of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from vibework.notifications.v1 import delivery_pb2 as pb
from vibework.notifications.v1.notification_pb2 import DELIVERY_STATE_UNSPECIFIED, NOTIFICATION_TYPE_UNSPECIFIED
from vibework.notifications.v1.notification_pb2 import DeliveryState as DeliveryStateNumber

from chassis.contract import timestamps
from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.messages import DELIVERY_STATE_TO_PROTO
from notifications_service.notification.words import TYPE_TO_PROTO
from notifications_service.outbox.model import Deferral, Kind, Reason

# By their stored values. One that only a newer version writes is unspecified.
KIND_TO_PROTO: Final = {kind.value: pb.DeliveryKind.Value(f"DELIVERY_KIND_{kind.name}") for kind in Kind}
REASON_TO_PROTO: Final = {
    reason.value: pb.DeliveryFailureReason.Value(f"DELIVERY_FAILURE_REASON_{reason.name}") for reason in Reason
}
DEFERRAL_TO_PROTO: Final = {
    deferral.value: pb.DeliveryDeferral.Value(f"DELIVERY_DEFERRAL_{deferral.name}") for deferral in Deferral
}
STATE_TO_PROTO: Final[Mapping[str | None, DeliveryStateNumber.ValueType]] = DELIVERY_STATE_TO_PROTO


def to_message(row: Document, now: datetime, max_attempts: int) -> pb.Delivery:
    """Convert a row; ``now``: what is due by then is not deferred. ``max_attempts``: the server's limit."""
    message = pb.Delivery(
        id=row["_id"],
        kind=KIND_TO_PROTO.get(row["kind"], pb.DELIVERY_KIND_UNSPECIFIED),
        notification_id=str(row.get("notificationId", "")),
        user_id=row.get("userId", ""),
        channel=TYPE_TO_PROTO.get(row["channel"], NOTIFICATION_TYPE_UNSPECIFIED),
        category=row.get("category", ""),
        state=STATE_TO_PROTO.get(row["state"], DELIVERY_STATE_UNSPECIFIED),
        reason=_reason(row),
        reason_detail=row.get("reasonDetail", ""),
        attempt_count=row["attempts"],
        max_attempts=max_attempts,
        attempts=map(_attempt, row.get("log", ())),
        digest_delivery_id=row.get("digestDeliveryId", ""),
        collapse_key=row.get("collapseKey", ""),
        critical=row.get("critical", False),
        template_purpose=row.get("templatePurpose", ""),
    )
    for field, name in _TIMES.items():
        timestamps.assign(getattr(message, field), row.get(name))
    if is_deferred(row, now):
        timestamps.assign(message.deferred_until, row["dueAt"])
        message.deferral = DEFERRAL_TO_PROTO.get(row.get("deferral", ""), pb.DELIVERY_DEFERRAL_UNSPECIFIED)
    return message


def is_deferred(row: Mapping[str, Any], now: datetime) -> bool:
    """Say whether a delivery waits for a time to come; of one that is being sent `dueAt` is the end of its lease."""
    due: datetime = row.get("dueAt", now)
    return row["state"] != DeliveryState.SENDING.value and due > now


_TIMES: Final = {
    "expires_at": "expiresAt",
    "sent_at": "sentAt",
    "finished_at": "finishedAt",
    "created_at": "createdAt",
    "updated_at": "updatedAt",
}


def _reason(part: Mapping[str, Any]) -> pb.DeliveryFailureReason.ValueType:
    return REASON_TO_PROTO.get(part.get("reason", ""), pb.DELIVERY_FAILURE_REASON_UNSPECIFIED)


def _attempt(entry: Mapping[str, Any]) -> pb.DeliveryAttempt:
    message = pb.DeliveryAttempt(
        reason=_reason(entry),
        smtp_code=entry.get("smtpCode", 0),
        enhanced_status=entry.get("enhancedStatus", ""),
        http_status=entry.get("httpStatus", 0),
        provider_message_id=entry.get("providerMessageId", ""),
    )
    # At most one of the two is there.
    if "maskedAddress" in entry:
        message.masked_address = entry["maskedAddress"]
    if "subscriptionId" in entry:
        message.push_subscription_id = entry["subscriptionId"]
    timestamps.assign(message.started_at, entry.get("startedAt"))
    timestamps.assign(message.finished_at, entry.get("finishedAt"))
    return message
