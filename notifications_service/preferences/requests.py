"""Conversion of requests to what is stored, with the rules that the contract's annotations cannot say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from vibework.notifications.v1.preference_service_pb2 import SetPreferenceRequest, UpdatePreferencesRequest
from vibework.notifications.v1.preferences_pb2 import Category, Preferences, QuietSpan

from chassis.contract import fieldmask
from chassis.errors import InvalidFields
from notifications_service.mongodb.codec import Document
from notifications_service.preferences import model, quiet_hours, zones
from notifications_service.preferences.messages import CHANNEL_FROM_PROTO, MODE_FROM_PROTO
from notifications_service.preferences.model import DigestTime, EntryKey, Mode


def changes_of(request: UpdatePreferencesRequest) -> Document:
    """Return the new values of an update by stored field; None: the field is removed.

    Raises FieldMaskInvalid or InvalidFields.
    """
    if not request.update_mask.paths:
        raise InvalidFields.of("update_mask", "must name what to change", "MASK_EMPTY")
    paths = fieldmask.update_paths(request.update_mask, request.preferences, _CHANGEABLE)
    return {name: value for path in sorted(paths) for name, value in _CHANGEABLE[path](request.preferences)}


def modes_of(changes: Document) -> dict[EntryKey, Mode]:
    """Return the modes among the new values of an update, by channel and category."""
    return {(each["channel"], each["category"]): Mode(each["mode"]) for each in changes.get("entries") or ()}


def entry_of(request: SetPreferenceRequest) -> tuple[EntryKey, Mode | None]:
    """Return the entry that a request sets; without a mode, removes."""
    key = CHANNEL_FROM_PROTO[request.channel], request.category
    return key, MODE_FROM_PROTO[request.mode] if request.mode else None


def values_of(category: Category) -> Document:
    """Return the stored form of a category, without its name and times."""
    defaults = [
        {"channel": CHANNEL_FROM_PROTO[each.channel], "mode": MODE_FROM_PROTO[each.mode]} for each in category.defaults
    ]
    optional = {
        "description": category.description,
        "defaults": defaults,
        "mandatory": category.mandatory,
        "commercial": category.commercial,
    }
    return {"title": category.title} | {name: value for name, value in optional.items() if value}


def _entries(values: Preferences) -> Iterable[tuple[str, Any]]:
    yield (
        "entries",
        [
            model.entry((CHANNEL_FROM_PROTO[each.channel], each.category), MODE_FROM_PROTO[each.mode])
            for each in values.entries
        ]
        or None,
    )


def _time_zone(values: Preferences) -> Iterable[tuple[str, Any]]:
    if values.time_zone and values.time_zone not in zones.names():
        raise InvalidFields.of("preferences.time_zone", "must be the name of a time zone", "TIME_ZONE")
    yield "timeZone", values.time_zone or None


def _quiet_hours(values: Preferences) -> Iterable[tuple[str, Any]]:
    spans = [_span(each) for each in values.quiet_hours]
    if quiet_hours.are_endless(spans):
        raise InvalidFields.of("preferences.quiet_hours", "must leave some minute of the week", "QUIET_HOURS_ENDLESS")
    yield "quietHours", [model.span(each) for each in spans] or None


def _span(span: QuietSpan) -> model.QuietSpan:
    return model.QuietSpan(span.start_minute, span.end_minute, tuple(sorted(span.weekdays)))


def _locale(values: Preferences) -> Iterable[tuple[str, Any]]:
    yield "locale", values.locale or None


def _digest_time(values: Preferences) -> Iterable[tuple[str, Any]]:
    given = values.digest_time
    stored = model.digest_time(DigestTime(given.minute, given.weekday))
    yield "digestTime", stored if values.HasField("digest_time") else None


_CHANGEABLE: Final[Mapping[str, Callable[[Preferences], Iterable[tuple[str, Any]]]]] = {
    "entries": _entries,
    "time_zone": _time_zone,
    "quiet_hours": _quiet_hours,
    "digest_time": _digest_time,
    "locale": _locale,
}
