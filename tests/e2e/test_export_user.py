"""An export of one person over the pair: whole, or cut short by the other service's end and told to be so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import orjson
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import delivery_service_pb2, notification_service_pb2, preference_service_pb2
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_pb2 import (
    NOTIFICATION_TYPE_EMAIL,
    NOTIFICATION_TYPE_IN_APP,
    NotificationContent,
)
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceStub
from vibework.notifications.v1.preferences_pb2 import Preferences
from vibework.testing.local import mail
from vibework.testing.local.ports import free_port
from vibework.users.v1 import session_service_pb2, user_service_pb2

from chassis.contract.timestamps import to_proto
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.pair import SeparatePair, separate_pair
from tests.harness.patience import wait_for
from tests.harness.users import BlockingStubs, reason
from tests.integration.users.imports.commands import command

EMAIL: Final = "Ann@example.com"
PASSWORD: Final = "correct horse battery"
# Of 4 KB each: far more than is on its way while nobody reads.
MANY: Final = 8_000


@pytest.fixture(scope="module")
def sides(mysql_module_database: MySQLDatabase, mongodb_module_database: MongoDatabase) -> Iterator[SeparatePair]:
    """The pair, in which nobody sends mails."""
    settings = mail.settings(free_port()) | {"DELIVERY": "separate"}
    with separate_pair(mysql_module_database, mongodb_module_database, **settings) as both:
        both.start()
        yield both


@pytest.fixture(scope="module")
def user_id(sides: SeparatePair) -> str:
    """The id of a person of whom both services keep something of everything but push subscriptions."""
    with grpc.insecure_channel(sides.users.address) as channel:
        sessions: Any = BlockingStubs.on(channel).sessions
        signed_up = sessions.SignUp(session_service_pb2.SignUpRequest(email=EMAIL, password=PASSWORD))
    with grpc.insecure_channel(sides.notifications.address) as channel:
        _fill(channel, signed_up.user.id)
    return str(signed_up.user.id)


def _fill(channel: grpc.Channel, user_id: str) -> None:
    feed: Any = NotificationServiceStub(channel)
    preferences: Any = PreferenceServiceStub(channel)
    deliveries: Any = DeliveryServiceStub(channel)
    later = to_proto(datetime.now(UTC) + timedelta(days=1))
    for content in (
        NotificationContent(title="mailed", message="m", type=NOTIFICATION_TYPE_EMAIL),
        NotificationContent(title="later", message="m", type=NOTIFICATION_TYPE_IN_APP, scheduled_at=later),
    ):
        feed.CreateNotification(notification_service_pb2.CreateNotificationRequest(user_id=user_id, content=content))
    content = NotificationContent(title="long", message="x" * 4_000, type=NOTIFICATION_TYPE_IN_APP)
    item = notification_service_pb2.BatchCreateNotificationsRequest.Item(user_id=user_id, content=content)
    items = notification_service_pb2.BatchCreateNotificationsRequest.Items(items=[item] * 500)
    for _ in range(MANY // 500):
        feed.BatchCreateNotifications(notification_service_pb2.BatchCreateNotificationsRequest(items=items))
    preferences.UpdatePreferences(
        preference_service_pb2.UpdatePreferencesRequest(
            preferences=Preferences(user_id=user_id, time_zone="Europe/Berlin"),
            update_mask=FieldMask(paths=["time_zone"]),
        )
    )
    deliveries.ReportDeliveryEvent(
        delivery_service_pb2.ReportDeliveryEventRequest(
            email_address=EMAIL, event=delivery_service_pb2.DELIVERY_EVENT_COMPLAINT
        )
    )


EXPECTED: Final = {
    "user": 1,
    "account": 1,
    "session": 1,
    "preferences": 1,
    "notification": MANY + 2,
    "delivery": 1,
    "suppression": 1,
    "end": 1,
}


def export(channel: grpc.Channel, user_id: str) -> Any:
    """Begin an export."""
    users: Any = BlockingStubs.on(channel).users
    return users.ExportUser(user_service_pb2.ExportUserRequest(id=user_id))


@pytest.mark.long
def test_everything_of_a_person_comes_by_the_rpc_and_by_the_command(
    sides: SeparatePair, user_id: str, tmp_path: Path
) -> None:
    """As the services keep it, and alike in both ways; the file is one JSON document."""
    with grpc.insecure_channel(sides.users.address) as channel:
        records = list(export(channel, user_id))
    assert Counter(record.WhichOneof("record") for record in records) == EXPECTED
    assert records[-1].end.record_count == len(records) - 1
    addresses = {"NOTIFICATIONS_ADDRESS": sides.notifications.address}
    path = tmp_path / "ann.json"
    for named in (user_id, EMAIL.lower()):
        done = command(sides.mysql, "export", path, "--user", named, "--overwrite", settings=addresses)
        assert done.returncode == 0, done.stderr
        found = orjson.loads(path.read_bytes())
        assert found["record_count"] == len(records) - 1
        assert {name: len(rows) for name, rows in found.items() if name != "record_count"} == {
            "users": 1,
            "accounts": 1,
            "sessions": 1,
            "verifications": 0,
            "preferences": 1,
            "push_subscriptions": 0,
            "notifications": MANY + 2,
            "deliveries": 1,
            "suppressions": 1,
        }
        assert found["users"][0]["email"] == EMAIL


@pytest.mark.long
def test_an_export_that_the_other_service_leaves_is_not_whole(
    sides: SeparatePair, user_id: str, tmp_path: Path
) -> None:
    """Killed in the middle: the stream ends with UNAVAILABLE and no end, the command writes no file."""
    with grpc.insecure_channel(sides.users.address) as channel:
        call = export(channel, user_id)
        assert next(call).user.id == user_id
        while not next(call).HasField("notification"):
            pass
        sides.notifications.kill()
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        error: Any = caught.value
        assert (error.code(), reason(error)) == (grpc.StatusCode.UNAVAILABLE, "NOTIFICATIONS_SERVICE_UNAVAILABLE")
        addresses = {"NOTIFICATIONS_ADDRESS": sides.notifications.address}
        failed = command(sides.mysql, "export", tmp_path / "ann.json", "--user", EMAIL, settings=addresses)
        assert failed.returncode == 1
        assert failed.stderr.splitlines()[-1] == b"the notifications service cannot be reached"
        assert list(tmp_path.iterdir()) == []
        sides.notifications.start()
        exported: list[Any] = []

        def is_whole() -> bool:
            """Try again, as the error says: the channel takes seconds to be connected anew."""
            with suppress(grpc.RpcError):
                exported[:] = export(channel, user_id)
            return bool(exported)

        wait_for(is_whole, "a whole export")
    assert Counter(record.WhichOneof("record") for record in exported) == EXPECTED
