"""The states of a notification and the marks that lead from one to another.

Seen, read and archived imply each other, so together they are one ladder of four rungs. A stored document may say
less than is true of it (the source's own system knows only `read`): its rung is the highest that any field says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, IntEnum
from typing import Any, Final

from notifications_service.mongodb.codec import Document


class State(IntEnum):
    """A rung of the ladder; each includes those below."""

    UNSEEN = 0
    SEEN = 1
    READ = 2
    ARCHIVED = 3


# The field that says a state, and the time of entering it, from the top down.
FIELDS: Final = (
    (State.ARCHIVED, "archived", "archivedAt"),
    (State.READ, "read", "readAt"),
    (State.SEEN, "seen", "seenAt"),
)


@dataclass(frozen=True, slots=True)
class Transition:
    """What a mark does: it moves what stands on one of ``sources`` to ``target`` and leaves the rest."""

    sources: frozenset[State]
    target: State


class Mark(Enum):
    """The marks of the contract."""

    SEEN = Transition(frozenset({State.UNSEEN}), State.SEEN)
    UNSEEN = Transition(frozenset({State.SEEN, State.READ, State.ARCHIVED}), State.UNSEEN)
    READ = Transition(frozenset({State.UNSEEN, State.SEEN}), State.READ)
    UNREAD = Transition(frozenset({State.UNSEEN, State.READ, State.ARCHIVED}), State.SEEN)
    ARCHIVED = Transition(frozenset({State.UNSEEN, State.SEEN, State.READ}), State.ARCHIVED)
    UNARCHIVED = Transition(frozenset({State.ARCHIVED}), State.READ)


def state_of(flags: Mapping[str, Any]) -> State:
    """Return the rung that `seen`, `read` and `archived` say; missing ones say nothing."""
    for state, flag, _ in FIELDS:
        if flags.get(flag) is True:
            return state
    return State.UNSEEN


def between(lowest: State, highest: State) -> list[Document]:
    """Return the conditions (to be joined by `$and`) for a rung from ``lowest`` to ``highest``."""
    conditions: list[Document] = [{flag: {"$ne": True}} for state, flag, _ in FIELDS if state > highest]
    reached: list[Document] = [{flag: True} for state, flag, _ in FIELDS if lowest <= state <= highest]
    if lowest > State.UNSEEN:
        conditions.append(reached[0] if len(reached) == 1 else {"$or": reached})
    return conditions


def one_of(states: frozenset[State]) -> list[Document]:
    """Return the conditions for any of these rungs, which may leave out one in the middle."""
    lowest, highest = min(states), max(states)
    conditions = between(lowest, highest)
    for missing in set(range(lowest, highest + 1)) - states:
        conditions.append({"$nor": [{"$and": between(State(missing), State(missing))}]})
    return conditions


def transition(target: State, at: datetime) -> Document:
    """Return the `$set` of an update pipeline that puts a document on ``target``.

    A time that is known is kept while its state holds on, set to ``at`` where the state begins, and removed
    where it ends.
    """
    changes: Document = {}
    for state, flag, time in FIELDS:
        changes[flag] = target >= state
        changes[time] = _time(state, time, at) if target >= state else "$$REMOVE"
    return changes


def _time(state: State, time: str, at: datetime) -> Document:
    already = {"$or": [{"$eq": [f"${flag}", True]} for higher, flag, _ in FIELDS if higher >= state]}
    return {"$cond": [already, f"${time}", at]}
