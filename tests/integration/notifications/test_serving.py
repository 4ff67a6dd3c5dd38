"""What the server offers around the feed: health, reflection, and the rules of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from vibework.notifications.v1 import delivery_service_pb2, preference_service_pb2

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications
from tests.harness.patience import PATIENCE_MS
from tests.harness.users import reason, violations

SERVICES = {f"vibework.notifications.v1.{name}Service" for name in ("Notification", "Delivery", "Preference")}


@pytest.fixture(params=["pymongo", "motor"])
async def patient(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase
) -> AsyncIterator[Notifications]:
    """A server whose probe waits for as long as a busy machine takes."""
    settings = {"mongodb_driver": request.param, "health_timeout_ms": PATIENCE_MS}
    async with running_notifications(mongodb_module_database, **settings) as running:
        yield running


async def test_health_and_reflection_know_every_service(patient: Notifications) -> None:
    """Each service is listed for grpcurl, and SERVING like the server as a whole."""
    notifications = patient
    health: Any = health_pb2_grpc.HealthStub(notifications.channel)
    for name in ("", *SERVICES):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status) == "SERVING", name
    channel: Any = notifications.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    listed = {service.name async for answer in call for service in answer.list_services_response.service}
    assert listed >= SERVICES


async def test_a_request_is_checked_before_anything_is_looked_up(pymongo_notifications: Notifications) -> None:
    """Every service holds requests to the rules of the contract, and names each field that breaks one."""
    deliveries, preferences = pymongo_notifications.deliveries, pymongo_notifications.preferences
    calls: list[Any] = [
        deliveries.GetDelivery(delivery_service_pb2.GetDeliveryRequest()),
        preferences.DeleteCategory(preference_service_pb2.DeleteCategoryRequest()),
    ]
    for call, field in zip(calls, ("id", "name"), strict=True):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert (reason(caught.value), violations(caught.value)) == ("INVALID_FIELDS", [field])
