"""Conversion between preferences and categories and their messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vibework.notifications.v1 import notification_pb2, preferences_pb2

from chassis.contract import timestamps
from notifications_service.preferences.model import ANY, Category, Mode, Preferences, QuietSpan

CHANNEL_TO_PROTO: Final[Mapping[str, notification_pb2.NotificationType.ValueType]] = {
    ANY: notification_pb2.NOTIFICATION_TYPE_UNSPECIFIED,
    "email": notification_pb2.NOTIFICATION_TYPE_EMAIL,
    "push": notification_pb2.NOTIFICATION_TYPE_PUSH,
}
CHANNEL_FROM_PROTO: Final = {value: channel for channel, value in CHANNEL_TO_PROTO.items()}
MODE_TO_PROTO: Final[Mapping[Mode, preferences_pb2.PreferenceMode.ValueType]] = {
    mode: preferences_pb2.PreferenceMode.Value(f"PREFERENCE_MODE_{mode.name}") for mode in Mode
}
MODE_FROM_PROTO: Final = {value: mode for mode, value in MODE_TO_PROTO.items()}


def preferences(of: Preferences) -> preferences_pb2.Preferences:
    """Return the message of a user's preferences."""
    message = preferences_pb2.Preferences(
        user_id=of.user_id,
        entries=[
            preferences_pb2.PreferenceEntry(
                channel=CHANNEL_TO_PROTO[channel], category=category, mode=MODE_TO_PROTO[mode]
            )
            for (channel, category), mode in of.modes.items()
        ],
        time_zone=of.time_zone,
        quiet_hours=[_span(each) for each in of.quiet_hours],
        locale=of.locale,
        etag=of.etag,
    )
    if of.digest_time is not None:
        message.digest_time.minute = of.digest_time.minute
        message.digest_time.weekday = preferences_pb2.Weekday.ValueType(of.digest_time.weekday)
    timestamps.assign(message.updated_at, of.updated_at)
    return message


def category(of: Category) -> preferences_pb2.Category:
    """Return the message of a category."""
    message = preferences_pb2.Category(
        name=of.name,
        title=of.title,
        description=of.description,
        defaults=[
            preferences_pb2.CategoryDefault(channel=CHANNEL_TO_PROTO[channel], mode=MODE_TO_PROTO[mode])
            for channel, mode in of.defaults.items()
        ],
        mandatory=of.mandatory,
        commercial=of.commercial,
        etag=of.etag,
    )
    timestamps.assign(message.deleted_at, of.deleted_at)
    timestamps.assign(message.created_at, of.created_at)
    timestamps.assign(message.updated_at, of.updated_at)
    return message


def _span(span: QuietSpan) -> preferences_pb2.QuietSpan:
    # The numbers of Weekday are those of ISO 8601.
    days = [preferences_pb2.Weekday.ValueType(day) for day in span.weekdays]
    return preferences_pb2.QuietSpan(weekdays=days, start_minute=span.start, end_minute=span.end)
