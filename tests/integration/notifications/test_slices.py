"""Batches of creates leave the event loop to other calls between their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from vibework.notifications.v1 import notification_service_pb2 as service

from chassis.interceptors import envelope
from chassis.slices import Slices
from tests.harness.notifications import Notifications
from tests.integration.notifications.building import content, items

ITEMS = 200


@pytest.fixture
def sliced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items were worked on in slices, each time."""
    numbers: list[int] = []
    sliced = Slices.map

    async def counted(self: Slices, convert: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        done = await sliced(self, convert, items)
        numbers.append(len(done))
        return done

    monkeypatch.setattr(Slices, "map", counted)
    return numbers


@pytest.mark.parametrize("fan_out", [False, True])
async def test_each_item_of_a_batch_is_worked_on_in_slices(
    pymongo_notifications: Notifications, user_id: str, sliced: list[int], fan_out: bool
) -> None:
    """The drafts, the documents and the answer; a request of many bytes is checked in a turn of its own."""
    users = [f"{user_id}_{number}" for number in range(ITEMS)]
    batch = items(*((user, content(message="m" * 100)) for user in users))
    if fan_out:
        everyone = service.BatchCreateNotificationsRequest.FanOut(user_ids=users, content=content())
        batch = service.BatchCreateNotificationsRequest(fan_out=everyone)
    answer = await pymongo_notifications.feed.BatchCreateNotifications(batch)
    assert [made.user_id for made in answer.notifications] == users
    checked = [1] if batch.ByteSize() >= envelope.LARGE_BYTES else []
    assert sliced == [*checked, ITEMS, ITEMS, ITEMS]
