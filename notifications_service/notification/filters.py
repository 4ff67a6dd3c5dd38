"""Filters of notifications: the conditions of the contract as a query, and as a test of a group of rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson.datetime_ms import DatetimeMS

from notifications_service.mongodb.codec import Document
from notifications_service.notification import states
from notifications_service.notification.states import State
from notifications_service.notification.visibility import Visibility

# Naive UTC in whole milliseconds, or the end of the last millisecond that Python has.
BoundTime = datetime | DatetimeMS


@dataclass(frozen=True, slots=True)
class Filter:
    """All given conditions hold together."""

    lowest: State = State.UNSEEN
    highest: State = State.ARCHIVED
    types: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    created_from: BoundTime | None = None
    created_before: BoundTime | None = None
    threads: tuple[str, ...] = ()

    @property
    def is_any_state(self) -> bool:
        """Whether rows of every state match."""
        return self.lowest is State.UNSEEN and self.highest is State.ARCHIVED

    @property
    def is_contradiction(self) -> bool:
        """Whether nothing can match, as with read and unseen."""
        return self.lowest > self.highest


EVERYTHING = Filter()


def of_states(read: bool | None, seen: bool | None, archived: bool | None) -> tuple[State, State]:
    """Return the lowest and the highest rung that these three allow; lowest > highest where they contradict."""
    lowest, highest = State.UNSEEN, State.ARCHIVED
    for wanted, state in ((seen, State.SEEN), (read, State.READ), (archived, State.ARCHIVED)):
        if wanted is True:
            lowest = max(lowest, state)
        elif wanted is False:
            highest = min(highest, State(state - 1))
    return lowest, highest


def query(user_id: str, chosen: Filter, shown: Visibility) -> Document:
    """Return the MongoDB query for a user's visible rows that match. The filter must not be a contradiction."""
    created: Document = {"$gt": shown.cutoff}
    if chosen.created_from is not None:
        created["$gte"] = chosen.created_from
    if chosen.created_before is not None:
        created["$lt"] = chosen.created_before
    found: Document = {"userId": user_id, "createdAt": created, "expiresAt": shown.unexpired}
    if chosen.types:
        found["type"] = {"$in": list(chosen.types)}
    if chosen.categories:
        found["category"] = {"$in": list(chosen.categories)}
    if chosen.threads:
        found["threadKey"] = {"$in": list(chosen.threads)}
    if conditions := states.between(chosen.lowest, chosen.highest):
        found["$and"] = conditions
    return found


def group_key(chosen: tuple[Filter, ...]) -> Document:
    """Return the key of a `$group` such that each filter matches all rows of a group, or none.

    It contains only fields that a filter tests, so that there are few groups.
    """
    key: Document = {flag: f"${flag}" for flag in _tested_flags(chosen)}
    if any(item.types for item in chosen):
        key["type"] = "$type"
    if categories := {name for item in chosen for name in item.categories}:
        key["category"] = _one_of("$category", categories)
    if threads := {name for item in chosen for name in item.threads}:
        key["threadKey"] = _one_of("$threadKey", threads)
    for number, item in enumerate(chosen):
        if item.created_from is not None:
            key[f"from{number}"] = {"$gte": ["$createdAt", item.created_from]}
        if item.created_before is not None:
            key[f"before{number}"] = {"$lt": ["$createdAt", item.created_before]}
    return key


def _one_of(field: str, tested: set[str]) -> Document:
    # A caller's word may begin with a dollar sign, so it must be a literal.
    return {"$cond": [{"$in": [field, {"$literal": sorted(tested)}]}, field, None]}


def _tested_flags(chosen: tuple[Filter, ...]) -> list[str]:
    # The fields of a rung and of all above it say whether a row is at that rung or above.
    tested = {item.lowest for item in chosen} | {item.highest + 1 for item in chosen}
    tested.discard(State.UNSEEN)
    return [flag for state, flag, _ in states.FIELDS if state >= min(tested)]


def is_of_kind(chosen: Filter, row: Mapping[str, Any]) -> bool:
    """Whether a row has one of the types, one of the categories and one of the thread keys of a filter."""
    return (
        (not chosen.types or row.get("type") in chosen.types)
        and (not chosen.categories or row.get("category") in chosen.categories)
        and (not chosen.threads or row.get("threadKey") in chosen.threads)
    )


def matches(number: int, chosen: Filter, group: Mapping[str, Any]) -> bool:
    """Whether the group with this key matches the filter, the ``number``-th of those given to ``group_key``."""
    return (
        chosen.lowest <= states.state_of(group) <= chosen.highest
        and is_of_kind(chosen, group)
        and group.get(f"from{number}", True)
        and group.get(f"before{number}", True)
    )
