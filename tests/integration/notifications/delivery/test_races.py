"""Of a claim and a call that come at once, one wins, and the other is told."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import delivery_service_pb2
from vibework.notifications.v1 import notification_pb2 as pb

from tests.harness.databases import MongoDatabase
from tests.harness.delivering import LEASE, Delivering
from tests.harness.notifications import running_notifications
from tests.harness.users import reason

DELIVERIES = 30
CANCELLED = pb.DeliveryState.Name(pb.DELIVERY_STATE_CANCELLED)


@pytest.mark.parametrize("turn", range(3))
async def test_a_cancelled_delivery_is_not_sent_and_one_that_is_being_sent_not_cancelled(
    delivering: Delivering, mongodb_module_database: MongoDatabase, turn: int
) -> None:
    """Whichever came first: no delivery is both, and each is one of them."""
    await delivering.create_many([f"user_{turn}_{number}" for number in range(DELIVERIES)])
    ids = [row["_id"] async for row in delivering.rows.find({})]
    async with running_notifications(mongodb_module_database, delivery="separate") as server:

        async def cancel(key: str) -> str:
            try:
                answer = await server.deliveries.CancelDelivery(delivery_service_pb2.CancelDeliveryRequest(id=key))
            except grpc.aio.AioRpcError as error:
                return reason(error)
            return pb.DeliveryState.Name(answer.delivery.state)

        claims = [delivering.outbox.claim("email", f"lease {n}", DELIVERIES // 3, LEASE) for n in range(3)]
        answers: list[Any] = await asyncio.gather(*map(cancel, ids), *claims)
    told = dict(zip(ids, answers[:DELIVERIES], strict=True))
    assert set(told.values()) <= {CANCELLED, "DELIVERY_STATE_CONFLICT"}
    cancelled = {key for key, end in told.items() if end == CANCELLED}
    claimed = [row["_id"] for rows in answers[DELIVERIES:] for row in rows]
    assert len(claimed) == len(set(claimed))
    assert not cancelled & set(claimed)
    states = {row["_id"]: row["state"] async for row in delivering.rows.find({})}
    assert {key for key, state in states.items() if state == "cancelled"} == cancelled
    assert {key for key, state in states.items() if state == "sending"} == set(claimed)
