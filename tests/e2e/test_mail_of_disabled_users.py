"""Mail of a disabled user: one service says who is disabled, the other sends what is critical or direct alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_pb2, notification_pb2
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.testing.local import mail
from vibework.testing.local.ports import free_port
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1.user_service_pb2_grpc import UserServiceStub

from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.mails import catching
from tests.harness.pair import running_pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for

SENT, SUPPRESSED = notification_pb2.DELIVERY_STATE_SENT, notification_pb2.DELIVERY_STATE_SUPPRESSED
EMAIL: Final = "ann@example.com"


class Callers:
    """Calls to both services."""

    def __init__(self, users: grpc.Channel, notifications: grpc.Channel) -> None:
        self.users = UserServiceStub(users)
        self._notifications = NotificationServiceStub(notifications)
        self._deliveries = DeliveryServiceStub(notifications)

    def new_user(self) -> str:
        """Create a user whose address is verified."""
        request = users_pb.CreateUserRequest(email=EMAIL, email_verified=True)
        return str(self.users.CreateUser(request, timeout=PATIENCE_SECONDS).user.id)

    def notify(self, user_id: str, title: str, *, critical: bool = False) -> None:
        """Create a notification that is mailed."""
        content = notification_pb2.NotificationContent(
            title=title, message=title, type=notification_pb2.NOTIFICATION_TYPE_EMAIL, critical=critical
        )
        request = notifications_pb.CreateNotificationRequest(user_id=user_id, content=content)
        self._notifications.CreateNotification(request, timeout=PATIENCE_SECONDS)

    def send_direct(self, user_id: str, subject: str) -> None:
        """Send a mail past the feed."""
        expires_at = Timestamp()
        expires_at.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
        request = deliveries_pb.SendDirectRequest(
            user_id=user_id,
            email=notification_pb2.EmailContent(subject=subject, text=subject),
            expires_at=expires_at,
        )
        self._deliveries.SendDirect(request, timeout=PATIENCE_SECONDS)

    def ends(self) -> list[tuple[int, int]]:
        """Return state and reason of every delivery, the oldest first."""
        found = self._deliveries.ListDeliveries(deliveries_pb.ListDeliveriesRequest(), timeout=PATIENCE_SECONDS)
        return [(each.state, each.reason) for each in reversed(found.deliveries)]


def subjects(folder: Path) -> set[str]:
    """Return what the mails that were caught say."""
    texts = [path.read_text() for path in folder.glob("*.eml")]
    lines = [line for text in texts for line in text.splitlines()]
    return {line.removeprefix("Subject: ") for line in lines if line.startswith("Subject: ")}


@pytest.mark.long
def test_a_disabled_user_gets_what_is_critical_or_direct_alone(
    mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path
) -> None:
    """What is held back stays so; enabled again, the user gets what is new."""
    port = free_port()
    with (
        catching(tmp_path, port) as mails,
        running_pair(mysql_database, mongodb_database, **mail.settings(port)) as pair,
        grpc.insecure_channel(pair.users) as users,
        grpc.insecure_channel(pair.notifications) as notifications,
    ):
        calls = Callers(users, notifications)
        user_id = calls.new_user()
        calls.users.DisableUser(users_pb.DisableUserRequest(id=user_id, reason="spam"), timeout=PATIENCE_SECONDS)
        calls.notify(user_id, "ordinary")
        calls.notify(user_id, "critical", critical=True)
        calls.send_direct(user_id, "direct")
        held = (SUPPRESSED, delivery_pb2.DELIVERY_FAILURE_REASON_USER_DISABLED)
        sent = (SENT, delivery_pb2.DELIVERY_FAILURE_REASON_UNSPECIFIED)
        wait_for(lambda: calls.ends() == [held, sent, sent], "the deliveries to end")
        calls.users.EnableUser(users_pb.EnableUserRequest(id=user_id), timeout=PATIENCE_SECONDS)
        calls.notify(user_id, "afterwards")
        wait_for(lambda: calls.ends() == [held, sent, sent, sent], "the mail that is new")
        assert subjects(mails.folder) == {"critical", "direct", "afterwards"}
