"""Requests about preferences and categories, and the rows behind them."""

from __future__ import annotations

from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_pb2, preferences_pb2
from vibework.notifications.v1 import preference_service_pb2 as service

EMAIL, PUSH = notification_pb2.NOTIFICATION_TYPE_EMAIL, notification_pb2.NOTIFICATION_TYPE_PUSH
ANY = notification_pb2.NOTIFICATION_TYPE_UNSPECIFIED
ON, OFF = preferences_pb2.PREFERENCE_MODE_ON, preferences_pb2.PREFERENCE_MODE_OFF
NO_MODE = preferences_pb2.PREFERENCE_MODE_UNSPECIFIED
DIGESTS = (
    preferences_pb2.PREFERENCE_MODE_DIGEST_HOURLY,
    preferences_pb2.PREFERENCE_MODE_DIGEST_DAILY,
    preferences_pb2.PREFERENCE_MODE_DIGEST_WEEKLY,
)
# Of what nobody has stored yet.
NO_ROW = '"0."'


def entry(channel: Any, category: str, mode: Any) -> preferences_pb2.PreferenceEntry:
    """Make an entry."""
    return preferences_pb2.PreferenceEntry(channel=channel, category=category, mode=mode)


def span(start: int, end: int, *weekdays: Any) -> preferences_pb2.QuietSpan:
    """Make a span of quiet hours."""
    return preferences_pb2.QuietSpan(weekdays=weekdays, start_minute=start, end_minute=end)


def update(user_id: str, *paths: str, **fields: Any) -> service.UpdatePreferencesRequest:
    """Make a request that changes what the paths name."""
    return service.UpdatePreferencesRequest(
        preferences=preferences_pb2.Preferences(user_id=user_id, **fields), update_mask=FieldMask(paths=paths)
    )


def setting(user_id: str, channel: Any, category: str, mode: Any) -> service.SetPreferenceRequest:
    """Make a request that sets one entry."""
    return service.SetPreferenceRequest(user_id=user_id, channel=channel, category=category, mode=mode)


def put(name: str, **fields: Any) -> service.PutCategoryRequest:
    """Make a request that registers a category."""
    return service.PutCategoryRequest(category=preferences_pb2.Category(**({"name": name, "title": "Title"} | fields)))


async def get(stub: Any, user_id: str) -> preferences_pb2.Preferences:
    """Read a user's preferences."""
    answer = await stub.GetPreferences(service.GetPreferencesRequest(user_id=user_id))
    found: preferences_pb2.Preferences = answer.preferences
    return found


async def listed(stub: Any, **fields: Any) -> list[preferences_pb2.Category]:
    """Read all categories, page by page."""
    found: list[preferences_pb2.Category] = []
    token = ""
    while True:
        page = await stub.ListCategories(service.ListCategoriesRequest(page_token=token, **fields))
        found += page.categories
        token = page.next_page_token
        if not token:
            return found
