"""Changes of deliveries, as values: what a row becomes, and how its notification sums it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import ObjectId
from pymongo import UpdateMany

from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.sharding import of_rows
from notifications_service.notification.delivery_states import OPEN, PRECEDENCE, DeliveryState
from notifications_service.outbox import direct
from notifications_service.outbox.model import KEPT_ATTEMPTS, MOST_DETAIL, AttemptEntry, Deferral, Kind, Lane, Reason

# What a row has only while it is open, or while it is being sent.
_OF_SENDING: Final[Mapping[str, Any]] = {"lease": None, "leasedAt": None, "takenOver": None, "superseded": None}
_OF_OPEN: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("dueAt", "deferral", "lane", "digestAt", "gathering")),
    **_OF_SENDING,
}


@dataclass(frozen=True, slots=True)
class Change:
    """What a row, as it was read, becomes. ``values`` by stored field; None: the field is removed.

    ``attempts`` are added to its log.
    """

    row: Mapping[str, Any]
    values: Mapping[str, Any]
    attempts: Sequence[AttemptEntry] = ()

    @property
    def state(self) -> DeliveryState:
        """The state of the row afterwards."""
        return DeliveryState(self.values.get("state", self.row["state"]))

    @property
    def after(self) -> Document:
        """The row as it is afterwards."""
        return {name: value for name, value in {**self.row, **self.values}.items() if value is not None}

    @property
    def leads(self) -> bool:
        """Whether items that the row carries are to follow it to another state."""
        return self.row["kind"] == Kind.DIGEST.value and told(self.state) is not told(DeliveryState(self.row["state"]))

    def update(self, at: datetime) -> UpdateMany:
        """Return the write of the row, which holds only if nobody has changed it since it was read.

        Of the one row; but what changes many is not repeated by the driver, and costs the server half as much.
        """
        values = {**self.values, **direct.erased(self.row, self.values), "updatedAt": at, "rev": self.row["rev"] + 1}
        update: Document = {"$set": {name: value for name, value in values.items() if value is not None}}
        if gone := {name: "" for name, value in values.items() if value is None}:
            update["$unset"] = gone
        if self.attempts:
            entries = [attempt.stored() for attempt in self.attempts]
            update["$push"] = {"log": {"$each": entries, "$slice": -KEPT_ATTEMPTS}}
        return UpdateMany({"_id": self.row["_id"], "rev": self.row["rev"], **of_rows([self.row])}, update, hint="_id_")

    def is_seen_in(self, row: Mapping[str, Any]) -> bool:
        """Say whether a row, as it is now, is as the end of an attempt left it: nobody else lets go of a lease so."""
        return bool(row["rev"] == self.row["rev"] + 1) and "lease" not in row

    @property
    def is_summed_up(self) -> bool:
        """Whether a notification sums it up, and its part in that changes."""
        return "notificationId" in self.row and told(self.state) is not told(DeliveryState(self.row["state"]))


def sums(made: Sequence[Change]) -> list[UpdateMany]:
    """Return the writes by which notifications sum up changes: one for all for which that is the same but for its time.

    Neither `rev` nor `updatedAt` of a notification moves: progress of a delivery outdates no etag.
    """
    alike: dict[tuple[str, DeliveryState, int, bool], list[Change]] = {}
    for change in made:
        if change.is_summed_up:
            is_sent = change.values.get("sentAt") is not None
            what = change.row["channel"], told(change.state), change.row["rev"] + 1, is_sent
            alike.setdefault(what, []).append(change)
    found = []
    for (channel, state, rev, is_sent), changes in alike.items():
        rows = [change.row for change in changes]
        sent = [change.values["sentAt"] for change in changes] if is_sent else []
        ids = [row["notificationId"] for row in rows]
        update = [*_sum(channel, state, rev), *_first_sent(ids, sent)]
        found.append(UpdateMany({"_id": {"$in": ids}, **of_rows(rows)}, update, hint="_id_"))
    return found


def final(state: DeliveryState, reason: Reason | None, at: datetime, detail: str = "") -> Document:
    """Return the values of a row that ends in ``state`` at ``at``."""
    why = {"reason": reason and reason.value, "reasonDetail": detail[:MOST_DETAIL] or None}
    return {"state": state.value, **why, "finishedAt": at, **_OF_OPEN}


def pending(due: datetime, deferral: Deferral | None, expires: datetime | None) -> Document:
    """Return the values of a row that is to be looked at next when it is due, or expires."""
    first = due if expires is None else min(due, expires)
    waits: Document = {"dueAt": first, "deferral": deferral and deferral.value}
    if deferral is Deferral.DIGEST:
        waits |= {"digestAt": due, "lane": Lane.DIGEST.value}
    return {"state": DeliveryState.PENDING.value, **_OF_SENDING, **waits}


def is_open(row: Mapping[str, Any]) -> bool:
    """Say whether a delivery may still be sent."""
    return DeliveryState(row["state"]) in OPEN


def told(state: DeliveryState) -> DeliveryState:
    """Return what is told of a state elsewhere: in the sum of a notification, and by the items of a digest."""
    return DeliveryState.PENDING if state is DeliveryState.SENDING else state


_BY_CHANNEL: Final = {"$objectToArray": {"$ifNull": ["$delivery.byChannel", {}]}}
_STATES: Final = {"$map": {"input": _BY_CHANNEL, "in": "$$this.v.state"}}
_SUMMED: Final = {
    "$let": {
        "vars": {"states": _STATES},
        "in": {
            "$switch": {
                "branches": [{"case": {"$in": [state.value, "$$states"]}, "then": state.value} for state in PRECEDENCE],
                "default": DeliveryState.SENT.value,
            }
        },
    }
}


def _sum(channel: str, state: DeliveryState, rev: int) -> list[Document]:
    field = f"delivery.byChannel.{channel}"
    newer = {"$lt": [{"$ifNull": [f"${field}.rev", 0]}, rev]}
    return [
        {"$set": {field: {"$cond": [newer, {"state": state.value, "rev": rev}, f"${field}"]}}},
        {"$set": {"delivery.state": _SUMMED}},
    ]


def _first_sent(ids: Sequence[ObjectId], times: Sequence[datetime]) -> list[Document]:
    """Return the stage that notes when each of the notifications was sent first; without times, none."""
    if not times:
        return []
    number = {"$indexOfArray": [{"$literal": ids}, "$_id"]}
    return [{"$set": {"sentAt": {"$ifNull": ["$sentAt", {"$arrayElemAt": [{"$literal": times}, number]}]}}}]
