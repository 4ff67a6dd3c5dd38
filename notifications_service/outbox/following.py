"""Items of a digest follow its state: in the transaction that changes it, as far as they fit, and the rest soon after.

A digest with more items than one transaction takes keeps `followAt` until all of them are there. Whoever finds it goes
on, so a process that ends in between leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import BYTEWISE
from notifications_service.mongodb.drivers import ClientSession, Collection
from notifications_service.notification.delivery_states import OPEN, DeliveryState
from notifications_service.outbox import changes, schema
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Lane, Reason

# Items that one transaction brings to the state of their digests.
BATCH: Final = 500


async def with_items(
    rows: Collection, session: ClientSession, made: Sequence[Change], at: datetime
) -> Sequence[Change]:
    """Return changes together with those of the items that follow; digests with more of them are marked."""
    leading = {change.row["_id"]: change for change in made if change.leads}
    if not leading:
        return made
    found = await others(rows, session, {key: change.state for key, change in leading.items()})
    by_themselves = {change.row["_id"] for change in made}
    items = [
        followed(item, leading[item["digestDeliveryId"]].after) for item in found if item["_id"] not in by_themselves
    ]
    if len(found) < BATCH:
        return [*made, *items]
    marked = [Change(each.row, {**each.values, "followAt": at}, each.attempts) if each.leads else each for each in made]
    return [*marked, *items]


def followed(item: Document, digest: Mapping[str, Any]) -> Change:
    """Return what becomes of an item of a digest that is in another state."""
    state = changes.told(DeliveryState(digest["state"]))
    if state in OPEN:
        values = changes.pending(digest["dueAt"], None, None) | {"lane": Lane.CARRIED.value}
        return Change(item, values | dict.fromkeys(("reason", "reasonDetail", "finishedAt")))
    if state is DeliveryState.FAILED and item.get("superseded"):
        ended = changes.final(DeliveryState.CANCELLED, Reason.SUPERSEDED, digest["finishedAt"])
        return Change(item, ended | {"digestDeliveryId": None})
    reason = Reason(digest["reason"]) if digest.get("reason") else None
    ended = changes.final(state, reason, digest["finishedAt"], digest.get("reasonDetail") or "")
    return Change(item, ended | {"sentAt": digest.get("sentAt")})


async def others(rows: Collection, session: ClientSession, states: Mapping[str, DeliveryState]) -> list[Document]:
    """Return up to ``BATCH`` items of digests that are not in the digest's state."""
    found = list[Document]()
    for state in sorted({changes.told(state) for state in states.values()}):
        keys = sorted(key for key, each in states.items() if changes.told(each) is state)
        query = {"digestDeliveryId": {"$in": keys}, "state": {"$ne": state.value}}
        cursor = rows.find(
            query, limit=BATCH - len(found), hint=schema.IN_DIGEST_INDEX, session=session, collation=BYTEWISE
        )
        found += [row async for row in cursor]
        if len(found) == BATCH:
            break
    return found
