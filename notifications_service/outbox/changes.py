"""Changes of deliveries, as values: what a row becomes, and how its notification sums it up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

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

    def values_at(self, at: datetime) -> Document:
        """Return the values by stored field as they are written at a time; None: the field is removed."""
        return {**self.values, **direct.erased(self.row, self.values), "updatedAt": at, "rev": self.row["rev"] + 1}

    @property
    def entries(self) -> list[Document]:
        """The attempts, as the log of the row has them."""
        return [attempt.stored() for attempt in self.attempts]

    def is_seen_in(self, row: Mapping[str, Any]) -> bool:
        """Say whether a row, as it is now, is as the end of an attempt left it: nobody else lets go of a lease so."""
        return bool(row["rev"] == self.row["rev"] + 1) and "lease" not in row

    @property
    def is_summed_up(self) -> bool:
        """Whether a notification sums it up, and its part in that changes."""
        return "notificationId" in self.row and told(self.state) is not told(DeliveryState(self.row["state"]))


def updates(made: Sequence[Change], at: datetime) -> list[UpdateMany]:
    """Return the writes of the rows: of those in which the same fields change, one.

    Each holds only for rows that nobody has changed since they were read. None is repeated by the driver, which notes
    what it may repeat for each row, and so costs the server twice as much.
    """
    alike: dict[tuple[int, frozenset[str], frozenset[str], bool], list[tuple[Change, Document]]] = {}
    for change in made:
        values = change.values_at(at)
        new = {name: value for name, value in values.items() if value is not None}
        what = change.row["rev"], frozenset(new), frozenset(values.keys() - new.keys()), bool(change.attempts)
        alike.setdefault(what, []).append((change, new))
    found = []
    for (rev, _, gone, _), each in alike.items():
        rows = [change.row for change, _ in each]
        query = {"_id": {"$in": [row["_id"] for row in rows]}, "rev": rev, **of_rows(rows)}
        found.append(UpdateMany(query, _written(each, sorted(gone)), hint="_id_"))
    return found


def _written(made: Sequence[tuple[Change, Document]], gone: Sequence[str]) -> list[Document]:
    """Return the update of rows that get new values, each its own, and lose the same fields."""
    ids = [change.row["_id"] for change, _ in made]
    stages: list[Document] = [{"$replaceWith": {"$mergeObjects": ["$$ROOT", _of_each(ids, [new for _, new in made])]}}]
    if made[0][0].attempts:
        stages.append({"$set": {"log": log_with(_of_each(ids, [change.entries for change, _ in made]))}})
    if gone:
        stages.append({"$unset": list(gone)})
    return stages


def log_with(entries: Any) -> Document:
    """Return the expression of a row's log with further entries, of which the last ones are kept."""
    return {"$slice": [{"$concatArrays": [{"$ifNull": ["$log", []]}, entries]}, -KEPT_ATTEMPTS]}


def _of_each(ids: Sequence[Any], values: Sequence[Any]) -> Document:
    """Return the expression that is, in the row of each id, the value at the same place."""
    return {"$arrayElemAt": [{"$literal": values}, {"$indexOfArray": [{"$literal": ids}, "$_id"]}]}


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
        ids = [row["notificationId"] for row in rows]
        update = _sum(channel, state, rev)
        if is_sent:
            sent = _of_each(ids, [change.values["sentAt"] for change in changes])
            update.append({"$set": {"sentAt": {"$ifNull": ["$sentAt", sent]}}})
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
