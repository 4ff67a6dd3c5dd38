"""What the server offers around the feed: health, reflection, and the services that are not built yet."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from vibework.notifications.v1 import delivery_service_pb2, preference_service_pb2

from tests.harness.notifications import Notifications
from tests.harness.users import reason, violations

SERVICES = {f"vibework.notifications.v1.{name}Service" for name in ("Notification", "Delivery", "Preference")}


async def test_health_and_reflection_know_every_service(notifications: Notifications) -> None:
    """The server as a whole and each service are SERVING, and listed for grpcurl."""
    health: Any = health_pb2_grpc.HealthStub(notifications.channel)
    for name in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    channel: Any = notifications.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    listed = {service.name async for answer in call for service in answer.list_services_response.service}
    assert listed >= SERVICES


async def test_what_is_not_built_says_so(pymongo_notifications: Notifications) -> None:
    """DeliveryService and PreferenceService answer UNIMPLEMENTED with a reason, after the request was checked."""
    key, deliveries, preferences = "0" * 24, pymongo_notifications.deliveries, pymongo_notifications.preferences
    calls: list[Any] = [
        deliveries.GetDelivery(delivery_service_pb2.GetDeliveryRequest(notification_id=key)),
        deliveries.ListDeliveries(delivery_service_pb2.ListDeliveriesRequest()),
        deliveries.CancelDelivery(delivery_service_pb2.CancelDeliveryRequest(notification_id=key)),
        deliveries.RetryDelivery(delivery_service_pb2.RetryDeliveryRequest(notification_id=key)),
        preferences.GetPreferences(preference_service_pb2.GetPreferencesRequest(user_id="u")),
        preferences.UpdatePreferences(
            preference_service_pb2.UpdatePreferencesRequest(user_id="u", update_mask=FieldMask(paths=["*"]))
        ),
        preferences.ListPushSubscriptions(preference_service_pb2.ListPushSubscriptionsRequest(user_id="u")),
        preferences.DeletePushSubscription(preference_service_pb2.DeletePushSubscriptionRequest(user_id="u", id="s")),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert reason(caught.value) == "NOT_IMPLEMENTED"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await deliveries.GetDelivery(delivery_service_pb2.GetDeliveryRequest(notification_id="x"))
    assert violations(caught.value) == ["notification_id"]
