"""Deliveries as a person on call sees them: as a line, as a page, as JSON. No address, content or hash is in any."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from chassis.commands.ages import short
from chassis.commands.tables import table

# Fields of a row that are shown, and what they are called. All others are left out, those of later versions, too.
_FIELDS: Final = {
    "_id": "id",
    "kind": "kind",
    "channel": "channel",
    "state": "state",
    "reason": "reason",
    "reasonDetail": "detail",
    "notificationId": "notification_id",
    "userId": "user_id",
    "category": "category",
    "critical": "critical",
    "templatePurpose": "template_purpose",
    "digestDeliveryId": "digest_delivery_id",
    "attempts": "attempts",
    "deferral": "deferral",
    "dueAt": "due_at",
    "leasedAt": "leased_at",
    "expiresAt": "expires_at",
    "sentAt": "sent_at",
    "finishedAt": "finished_at",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
}
_OF_ATTEMPTS: Final = {
    "startedAt": "started_at",
    "finishedAt": "finished_at",
    "reason": "reason",
    "maskedAddress": "masked_address",
    "subscriptionId": "subscription_id",
    "smtpCode": "smtp_code",
    "enhancedStatus": "enhanced_status",
    "httpStatus": "http_status",
    "providerMessageId": "provider_message_id",
}
# A page is as wide as a terminal is at least.
_WIDTH: Final = 80


def line(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a delivery as a row of a table, which fits into 80 columns."""
    return {
        "id": row["_id"],
        "via": row["channel"],
        "state": row["state"],
        "reason": row.get("reason", "-"),
        "age": short(now - row["createdAt"]),
    }


def as_json(row: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Return a delivery as JSON has it; times are those of RFC 3339."""
    told = {name: _plain(row[field]) for field, name in _FIELDS.items() if field in row}
    told["age_seconds"] = round((now - row["createdAt"]).total_seconds())
    told["log"] = [
        {name: _plain(entry[field]) for field, name in _OF_ATTEMPTS.items() if field in entry}
        for entry in row.get("log", ())
    ]
    return told


def page(row: Mapping[str, Any], now: datetime) -> Iterator[str]:
    """Yield the lines of a page about a delivery: its fields, and its last attempts, oldest first."""
    told = {name: str(_plain(row[field])) for field, name in _FIELDS.items() if field in row}
    column = max(map(len, told)) + 2
    for name, value in told.items():
        head, *more = textwrap.wrap(value, _WIDTH - column) or [""]
        yield f"{name.replace('_', ' ').ljust(column)}{head}"
        yield from (f"{'':{column}}{rest}" for rest in more)
    if attempts := [_attempt(entry, now) for entry in row.get("log", ())]:
        yield ""
        yield from table(attempts, _WIDTH)


def _attempt(entry: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    return {
        "ago": short(now - entry["startedAt"]),
        "code": str(entry.get("smtpCode") or entry.get("httpStatus") or "-"),
        "outcome": entry.get("reason", "accepted"),
        "to": entry.get("maskedAddress") or entry.get("subscriptionId", "-"),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        # Stored times are naive, and in UTC.
        return value.replace(tzinfo=UTC).isoformat(timespec="milliseconds")
    return value if isinstance(value, bool | int) else str(value)
