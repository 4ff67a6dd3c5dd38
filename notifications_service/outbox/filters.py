"""Filters of deliveries: the conditions of the contract as a query, and the index that finds what matches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from bson import ObjectId

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import OPEN, DeliveryState
from notifications_service.notification.filters import BoundTime
from notifications_service.outbox import schema

_ALL: Final = tuple(state.value for state in DeliveryState)
# While it is being sent, its due time is the end of a lease, and it waits for nothing.
_WAITING: Final = frozenset(OPEN - {DeliveryState.SENDING})


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """All given conditions hold together; values are as stored.

    ``states`` None: any. ``address_hashes``: of one address, under each key.
    """

    user_id: str = ""
    notification_ids: tuple[ObjectId, ...] = ()
    states: frozenset[str] | None = None
    channels: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    deferrals: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    address_hashes: tuple[bytes, ...] = ()
    created_from: BoundTime | None = None
    created_before: BoundTime | None = None

    def within(self, states: Iterable[DeliveryState]) -> DeliveryFilter:
        """Return the filter of those that are in one of these states, too."""
        values = frozenset(state.value for state in states)
        return replace(self, states=values if self.states is None else self.states & values)

    @property
    def is_contradiction(self) -> bool:
        """Whether nothing can match: what waits for something is in no final state."""
        return self._states() is not None and not self._states()

    @property
    def hint(self) -> str:
        """The index that finds what matches, in the order of lists."""
        if self.address_hashes:
            return schema.ADDRESS_INDEX
        if self.notification_ids:
            return schema.NOTIFICATION_INDEX
        return schema.USER_INDEX if self.user_id else schema.LIST_INDEX

    def query(self, now: datetime) -> Document:
        """Return the query for what matches, of those that are still kept and of the others."""
        query: Document = {name: {"$in": list(values)} for name, values in self._listed().items() if values}
        states = self._states()
        if states is not None or self.hint == schema.LIST_INDEX:
            # The index has a range for each state.
            query["state"] = {"$in": list(_ALL) if states is None else sorted(states)}
        if self.deferrals:
            query["dueAt"] = {"$gt": now}
        if self.user_id:
            query["userId"] = self.user_id
        created = {"$gte": self.created_from, "$lt": self.created_before}
        if bounds := {name: bound for name, bound in created.items() if bound is not None}:
            query["createdAt"] = bounds
        return query

    def _states(self) -> frozenset[str] | None:
        if not self.deferrals:
            return self.states
        return _WAITING if self.states is None else self.states & _WAITING

    def _listed(self) -> dict[str, tuple[Any, ...]]:
        return {
            "log.addressHash": self.address_hashes,
            "notificationId": self.notification_ids,
            "channel": self.channels,
            "reason": self.reasons,
            "kind": self.kinds,
            "deferral": self.deferrals,
            "category": self.categories,
        }


EVERYTHING: Final = DeliveryFilter()
