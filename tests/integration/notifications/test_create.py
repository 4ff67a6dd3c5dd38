"""Creating notifications: what is answered is what is stored."""

from __future__ import annotations

from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.notifications import Notifications


async def test_an_in_app_notification_is_delivered_by_being_in_the_feed(
    notifications: Notifications, user_id: str
) -> None:
    """It answers the stored row: unseen, sent at once, and the same when read again."""
    request = service.CreateNotificationRequest(
        user_id=user_id,
        title="Welcome",
        message="Welcome to VibeWork",
        type=pb.NOTIFICATION_TYPE_IN_APP,
        category="onboarding",
        data={"step": 1, "next": ["profile", None, {"due": 2.5}], "$ref": "a key like any other"},
    )
    created = (await notifications.feed.CreateNotification(request)).notification
    assert (created.user_id, created.title, created.category) == (user_id, "Welcome", "onboarding")
    assert created.data == request.data
    assert not (created.seen or created.read or created.archived or created.HasField("seen_at"))
    assert created.delivery_state == pb.DELIVERY_STATE_SENT
    assert created.sent_at == created.created_at == created.updated_at
    found = await notifications.feed.GetNotification(service.GetNotificationRequest(id=created.id, user_id=user_id))
    assert found.notification == created
