"""Rules of fields: where a broken one is said to be, and which rules hold for what an update changes."""

from __future__ import annotations

import pytest
from vibework.notifications.v1 import notification_pb2, preferences_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.contract.rules import MaskedRules, collector
from chassis.errors import InvalidFields

EMAIL = notification_pb2.NOTIFICATION_TYPE_EMAIL


def test_a_rule_of_a_message_names_the_field_at_fault() -> None:
    """protovalidate names the message alone, and nothing at the top; ours begin with the field."""
    content = notification_pb2.NotificationContent(
        title="t", message="m", type=notification_pb2.NOTIFICATION_TYPE_IN_APP, push=notification_pb2.PushChannel()
    )
    request = pb.CreateNotificationRequest(user_id="u", content=content)
    (found,) = collector(pb.CreateNotificationRequest)(request)
    assert (found.field, found.reason) == ("content.push", "PUSH_WITHOUT_CHANNEL")
    (found,) = collector(notification_pb2.NotificationContent)(content)
    assert found.field == "push"
    twice = [preferences_pb2.PreferenceEntry(channel=EMAIL, mode=preferences_pb2.PREFERENCE_MODE_ON)] * 2
    preferences = preferences_pb2.Preferences(user_id="u", entries=twice)
    (found,) = collector(preferences_pb2.Preferences)(preferences)
    assert (found.field, found.reason) == ("entries", "ENTRIES_UNIQUE")


def test_an_update_keeps_the_rules_of_what_its_mask_names() -> None:
    """Every violation of a named field is told, by its path in the request; what is not named may be anything."""
    rules = MaskedRules(notification_pb2.NotificationContent, "notification")
    values = notification_pb2.Notification(title="", message="m" * 5_000, category="c" * 65, channels=[EMAIL] * 2)
    with pytest.raises(InvalidFields) as caught:
        rules.check(values, ["title", "category", "channels"])
    assert {(item.field, item.reason) for item in caught.value.violations} == {
        ("notification.title", "STRING_MIN_LEN"),
        ("notification.category", "STRING_MAX_LEN"),
        ("notification.channels", "REPEATED_UNIQUE"),
    }
    rules.check(notification_pb2.Notification(title="t", message="m" * 5_000), ["title"])
