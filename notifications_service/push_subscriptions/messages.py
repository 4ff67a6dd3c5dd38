"""Conversion of push subscriptions: requests to the model, rows to messages of the contract."""

from __future__ import annotations

from collections.abc import Iterator

from vibework.notifications.v1 import preference_service_pb2 as pb
from vibework.notifications.v1.preferences_pb2 import PushSubscription

from chassis.contract.timestamps import assign, from_proto
from chassis.errors import FieldViolation, InvalidFields
from notifications_service.clock import MillisecondClock, truncated
from notifications_service.mongodb.codec import Document
from notifications_service.push_subscriptions.endpoints import EndpointRefused, EndpointRules
from notifications_service.push_subscriptions.keys import point
from notifications_service.push_subscriptions.model import USER_AGENT_CHARACTERS, NewSubscription, Seal


class Requests:
    """Reads requests, by the rules that the contract cannot express."""

    def __init__(self, rules: EndpointRules, clock: MillisecondClock) -> None:
        self._rules = rules
        self._clock = clock

    def new(self, request: pb.RegisterPushSubscriptionRequest) -> NewSubscription:
        """Return the subscription to store. Raises InvalidFields with every violation."""
        if violations := [*self._violations(request)]:
            raise InvalidFields(violations)
        target = request.web_push
        ends = request.HasField("expires_at")
        return NewSubscription(
            request.user_id,
            target.endpoint,
            target.p256dh,
            target.auth,
            target.key_id,
            request.user_agent[:USER_AGENT_CHARACTERS],
            truncated(from_proto(request.expires_at).replace(tzinfo=None)) if ends else None,
        )

    def _violations(self, request: pb.RegisterPushSubscriptionRequest) -> Iterator[FieldViolation]:
        try:
            self._rules.parse(request.web_push.endpoint)
        except EndpointRefused as error:
            yield FieldViolation("web_push.endpoint", str(error), "ENDPOINT_PUBLIC")
        try:
            point(request.web_push.p256dh)
        except ValueError:
            yield FieldViolation("web_push.p256dh", "must be a point on P-256", "P256DH_POINT")
        if request.HasField("expires_at") and from_proto(request.expires_at).replace(tzinfo=None) <= self._clock():
            yield FieldViolation("expires_at", "must be after now", "TIMESTAMP_GT_NOW")


def fill(target: PushSubscription, row: Document, seal: Seal) -> None:
    """Write a row into a message, without its keys; one whose seal cannot be opened has no endpoint."""
    target.id = row["_id"]
    target.user_id = row["userId"]
    target.web_push.endpoint = seal.target(row).endpoint
    target.web_push.key_id = row["keyId"]
    target.user_agent = row["userAgent"]
    assign(target.created_at, row["createdAt"])
    assign(target.last_used_at, row.get("lastUsedAt"))
    assign(target.expires_at, row.get("expiresAt"))
