"""What the server offers around the feed: health, reflection, and the services that are not built yet."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from vibework.notifications.v1 import delivery_service_pb2, notification_service_pb2

from tests.harness.notifications import Notifications
from tests.harness.users import metadata, reason, violations

SERVICES = {f"vibework.notifications.v1.{name}Service" for name in ("Notification", "Delivery", "Preference")}
# Whoever builds the first RPC of one takes it off.
UNBUILT: set[str] = set()


async def test_health_and_reflection_know_every_service(notifications: Notifications) -> None:
    """Each service is listed for grpcurl; the server as a whole is SERVING, and so is each service that is built."""
    health: Any = health_pb2_grpc.HealthStub(notifications.channel)
    for name in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        expected = "NOT_SERVING" if name in UNBUILT else "SERVING"
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == expected, name
    channel: Any = notifications.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    listed = {service.name async for answer in call for service in answer.list_services_response.service}
    assert listed >= SERVICES


async def test_what_is_not_built_says_so_after_the_request_was_checked(pymongo_notifications: Notifications) -> None:
    """UNIMPLEMENTED has a reason, and a bad request is told as such."""
    deliveries, feed = pymongo_notifications.deliveries, pymongo_notifications.feed
    request = notification_service_pb2.ListScheduledNotificationsRequest(user_id="u")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed.ListScheduledNotifications(request)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert (reason(caught.value), metadata(caught.value)) == ("NOT_IMPLEMENTED", {})
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await deliveries.GetDelivery(delivery_service_pb2.GetDeliveryRequest())
    assert violations(caught.value) == ["id"]
