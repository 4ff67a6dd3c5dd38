"""Changes of deliveries, as values: what a row becomes, and how its notification sums it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pymongo import UpdateOne

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

    @property
    def _mine(self) -> Document:
        # The row's, and its notification's; a direct one may be nobody's.
        return of_rows([self.row])

    def update(self, at: datetime) -> UpdateOne:
        """Return the write of the row, which holds only if nobody has changed it since it was read."""
        values = {**self.values, **direct.erased(self.row, self.values), "updatedAt": at, "rev": self.row["rev"] + 1}
        update: Document = {"$set": {name: value for name, value in values.items() if value is not None}}
        if gone := {name: "" for name, value in values.items() if value is None}:
            update["$unset"] = gone
        if self.attempts:
            entries = [attempt.stored() for attempt in self.attempts]
            update["$push"] = {"log": {"$each": entries, "$slice": -KEPT_ATTEMPTS}}
        return UpdateOne({"_id": self.row["_id"], "rev": self.row["rev"], **self._mine}, update, hint="_id_")

    def sum(self) -> UpdateOne | None:
        """Return the write by which the notification sums it up; None where it has none, or where that stays the same.

        Neither `rev` nor `updatedAt` of the notification moves: progress of a delivery outdates no etag.
        """
        key, state = self.row.get("notificationId"), told(self.state)
        if key is None or state is told(DeliveryState(self.row["state"])):
            return None
        summed = _sum(self.row["channel"], state, self.row["rev"] + 1, self.values)
        return UpdateOne({"_id": key, **self._mine}, summed, hint="_id_")


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


def _sum(channel: str, state: DeliveryState, rev: int, values: Mapping[str, Any]) -> list[Document]:
    field = f"delivery.byChannel.{channel}"
    newer = {"$lt": [{"$ifNull": [f"${field}.rev", 0]}, rev]}
    stages: list[Document] = [
        {"$set": {field: {"$cond": [newer, {"state": state.value, "rev": rev}, f"${field}"]}}},
        {"$set": {"delivery.state": _SUMMED}},
    ]
    if (sent := values.get("sentAt")) is not None:
        stages.append({"$set": {"sentAt": {"$ifNull": ["$sentAt", sent]}}})
    return stages
