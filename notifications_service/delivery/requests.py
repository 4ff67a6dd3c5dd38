"""Conversion of requests to the model of deliveries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Final, TypeVar

from bson import ObjectId
from vibework.notifications.v1 import delivery_pb2, delivery_service_pb2

from chassis.errors import InvalidFields
from notifications_service.addresses import AddressHashes, masked_in
from notifications_service.clock import MillisecondClock
from notifications_service.delivery import messages
from notifications_service.delivery.events import EventKind, MailEvent
from notifications_service.notification.times import ceiling, floor
from notifications_service.notification.words import TYPE_TO_PROTO
from notifications_service.outbox.direct import DirectContent, NewDirect
from notifications_service.outbox.filters import DeliveryFilter
from notifications_service.outbox.model import MOST_DETAIL

K = TypeVar("K")

LONGEST_DIRECT: Final = timedelta(hours=24)
# The Message-ID of a mail of ours: its delivery's id before the at sign.
_OWN_MESSAGE_ID: Final = re.compile(r"<?(dlv_[0-9a-z]{26})@[^<>\s]+>?")
_EVENTS: Final = {
    delivery_service_pb2.DELIVERY_EVENT_HARD_BOUNCE: EventKind.HARD_BOUNCE,
    delivery_service_pb2.DELIVERY_EVENT_SOFT_BOUNCE: EventKind.SOFT_BOUNCE,
    delivery_service_pb2.DELIVERY_EVENT_COMPLAINT: EventKind.COMPLAINT,
}


def filter_of(message: delivery_pb2.DeliveryFilter, hashes: AddressHashes) -> DeliveryFilter:
    """Convert a filter."""
    return DeliveryFilter(
        user_id=message.user_id,
        notification_ids=tuple(map(ObjectId, message.notification_ids)),
        states=frozenset(_stored(messages.STATE_TO_PROTO, message.states)) if message.states else None,
        channels=_stored(TYPE_TO_PROTO, message.channels),
        reasons=_stored(messages.REASON_TO_PROTO, message.reasons),
        kinds=_stored(messages.KIND_TO_PROTO, message.kinds),
        deferrals=_stored(messages.DEFERRAL_TO_PROTO, message.deferrals),
        categories=tuple(message.categories),
        address_hashes=tuple(hashes.each_of(message.email_address)) if message.email_address else (),
        created_from=ceiling(message.created_after) if message.HasField("created_after") else None,
        created_before=ceiling(message.created_before) if message.HasField("created_before") else None,
    )


def event_of(request: delivery_service_pb2.ReportDeliveryEventRequest, clock: MillisecondClock) -> MailEvent:
    """Convert a report; what happens in the future by the provider's clock happens now by ours."""
    now = clock()
    return MailEvent(
        _EVENTS[request.event],
        min(floor(request.occurred_at), now) if request.HasField("occurred_at") else now,
        is_dated=request.HasField("occurred_at"),
        smtp_code=request.smtp_code,
        enhanced_status=request.enhanced_status,
        detail=masked_in(request.detail)[:MOST_DETAIL],
    )


def direct_of(request: delivery_service_pb2.SendDirectRequest, clock: MillisecondClock) -> NewDirect:
    """Convert a mail to be sent. Raises InvalidFields unless it expires after now, and at most 24 hours ahead."""
    expires, now = floor(request.expires_at), clock()
    if expires <= now:
        raise InvalidFields.of("expires_at", "must be after now", "TIMESTAMP_GT_NOW")
    if expires > now + LONGEST_DIRECT:
        raise InvalidFields.of("expires_at", "must be at most 24 hours ahead", "TIMESTAMP_AHEAD")
    email, template = request.email, request.template
    content = DirectContent(
        request.locale,
        template.purpose,
        dict(template.variables),
        email.subject,
        email.text,
        email.html,
        email.reply_to,
    )
    return NewDirect(content, expires, request.user_id, request.email_address)


def own_message_id(text: str) -> str | None:
    """Return the id of the delivery whose mail has that Message-ID; None: it is no mail of ours."""
    found = _OWN_MESSAGE_ID.fullmatch(text.strip())
    return found[1] if found else None


def _stored(names: Mapping[str | None, K] | Mapping[str, K], numbers: Iterable[K]) -> tuple[str, ...]:
    """Return the stored values of an enum's numbers."""
    by_number = {number: name for name, number in names.items() if name is not None}
    return tuple(by_number[number] for number in numbers)
