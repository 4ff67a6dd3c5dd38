"""Rows of deliveries and of their notifications that are right, but for what a test gives."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from chassis.contract.ids import new_id
from chassis.keyring import Keyring
from notifications_service.addresses import AddressHashes, masked
from notifications_service.outbox.model import AttemptEntry
from tests.harness.clocks import stored_now
from tests.harness.notifications import SECRET_KEYS

HASHES = AddressHashes(Keyring.parse(SECRET_KEYS))
OPEN = {"scheduled", "pending", "sending"}
# Nobody sends a delivery of these tests: it is due long after they have ended.
LATER = timedelta(days=1)


def delivery(user_id: str, **fields: Any) -> dict[str, Any]:
    """Make the row of a delivery."""
    at = fields.get("createdAt", datetime.now(UTC))
    made = {
        "_id": new_id("dlv"),
        "kind": "notification",
        "notificationId": ObjectId(),
        "userId": user_id,
        "channel": "email",
        "state": "pending",
        "attempts": 0,
        "createdAt": at,
        "updatedAt": at,
        "rev": 1,
    } | fields
    ends = {"dueAt": at + LATER} if made["state"] in OPEN else {"finishedAt": at}
    return ends | made


def mailed(address: str, **fields: Any) -> dict[str, Any]:
    """Make an attempt at sending a mail."""
    attempt = AttemptEntry(
        stored_now(), stored_now(), masked_address=masked(address), address_hash=HASHES.of(address), **fields
    )
    return attempt.stored()


def sum_of(*deliveries: dict[str, Any]) -> dict[str, Any]:
    """Make the part of a notification that sums up its deliveries, as it was before anything happened to them."""
    channels = {row["channel"]: {"state": row["state"], "rev": row["rev"]} for row in deliveries}
    return {"state": deliveries[0]["state"], "byChannel": channels}
