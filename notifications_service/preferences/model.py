"""Preferences and categories: their names and values in MongoDB, and what they are in the code.

Values are those of the contract's enums in small letters. Times are those of ``notifications_service.clock``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum, auto
from typing import Final

from bson.datetime_ms import DatetimeMS

from chassis.contract import etags
from notifications_service.mongodb.codec import Document
from notifications_service.notification.documents import milliseconds

# In an entry: of any channel, or of any category. No notification names an empty one of either.
ANY: Final = ""
# Entries that a user may have; what a user unsubscribes from is added beyond them.
MOST_ENTRIES: Final = 200

# The etag of what nobody has stored yet.
NO_ROW: Final = etags.write(0, None)

# Channel and category of an entry.
EntryKey = tuple[str, str]


class Mode(StrEnum):
    """Whether notifications go out."""

    ON = auto()
    OFF = auto()
    # Together in one mail. For email alone.
    DIGEST_HOURLY = auto()
    DIGEST_DAILY = auto()
    DIGEST_WEEKLY = auto()


DIGESTS: Final = frozenset({Mode.DIGEST_HOURLY, Mode.DIGEST_DAILY, Mode.DIGEST_WEEKLY})


@dataclass(frozen=True, slots=True)
class QuietSpan:
    """A span in which nothing is sent: from ``start`` to ``end``, in minutes after midnight of a user's time zone.

    ``weekdays``: those on which it starts, as in ISO 8601. An end at or before the start is on the next day.
    """

    start: int
    end: int
    weekdays: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class DigestTime:
    """When digests are sent: ``minute`` of the day, weekly ones on ``weekday`` (ISO 8601; 0: on Monday)."""

    minute: int = 480
    weekday: int = 0


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a user wants to be sent; the defaults are those of a user who has never set any."""

    user_id: str
    modes: Mapping[EntryKey, Mode] = field(default_factory=dict)
    time_zone: str = ""
    quiet_hours: tuple[QuietSpan, ...] = ()
    locale: str = ""
    digest_time: DigestTime | None = None
    updated_at: datetime | None = None
    etag: str = NO_ROW


@dataclass(frozen=True, slots=True)
class Category:
    """What preferences are given by; the defaults are those of one that was never registered."""

    name: str
    title: str = ""
    description: str = ""
    defaults: Mapping[str, Mode] = field(default_factory=dict)
    mandatory: bool = False
    commercial: bool = False
    deleted_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    etag: str = NO_ROW

    @property
    def is_there(self) -> bool:
        """Whether it is registered, and was not deleted since."""
        return self.created_at is not None and self.deleted_at is None


def preferences_of(row: Document) -> Preferences:
    """Convert a row of the collection `preferences`."""
    return Preferences(
        row["_id"],
        {(each["channel"], each["category"]): Mode(each["mode"]) for each in row.get("entries", ())},
        row.get("timeZone", ""),
        tuple(_span_of(each) for each in row.get("quietHours", ())),
        row.get("locale", ""),
        _digest_time_of(row.get("digestTime")),
        row["updatedAt"],
        _etag(row),
    )


def category_of(row: Document) -> Category:
    """Convert a row of the collection `categories`."""
    return Category(
        row["_id"],
        row["title"],
        row.get("description", ""),
        {each["channel"]: Mode(each["mode"]) for each in row.get("defaults", ())},
        row.get("mandatory", False),
        row.get("commercial", False),
        row.get("deletedAt"),
        row["createdAt"],
        row["updatedAt"],
        _etag(row),
    )


def entry(key: EntryKey, mode: Mode) -> Document:
    """Return the stored form of an entry. Entries are compared whole, so its fields have an order."""
    channel, category = key
    return {"channel": channel, "category": category, "mode": mode.value}


def span(of: QuietSpan) -> Document:
    """Return the stored form of a span."""
    return {"start": of.start, "end": of.end, "weekdays": list(of.weekdays)}


def digest_time(of: DigestTime) -> Document:
    """Return the stored form of the time of digests."""
    return {"minute": of.minute, "weekday": of.weekday}


def etag_query(etag: str) -> Document | None:
    """Return the condition that holds for a row of this etag; None if it is not one of ours, or that of no row."""
    numbers = etags.read(etag, 2)
    if numbers is None or numbers[0] is None or numbers[1] is None:
        return None
    return {"rev": numbers[0], "updatedAt": DatetimeMS(numbers[1])}


def _etag(row: Document) -> str:
    return etags.write(row["rev"], milliseconds(row["updatedAt"]))


def _span_of(stored: Document) -> QuietSpan:
    return QuietSpan(stored["start"], stored["end"], tuple(stored["weekdays"]))


def _digest_time_of(stored: Document | None) -> DigestTime | None:
    return None if stored is None else DigestTime(stored["minute"], stored["weekday"])
