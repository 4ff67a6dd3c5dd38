"""The search for an order: whether operations on one object, of which some overlap, could have happened one by one.

That is linearizability (Herlihy and Wing, 1990), searched for as by Wing and Gong (1993), with the states that were
seen remembered (Lowe, 2017). An operation whose end is unknown may be put anywhere after its beginning, or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final, Generic, TypeVar

from tests.harness.history.record import NEVER, Operation

S = TypeVar("S", bound=Hashable)

# States after which a search gives up. Objects of the load have some dozens of operations, which need some hundreds.
LIMIT: Final = 200_000


class Order(Enum):
    """The outcome of a search."""

    FOUND = "found"
    NONE = "none"
    # The limit was reached.
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Model(Generic[S]):
    """An object that does one thing at a time.

    ``step``: the state that an operation leads to from a state, with the answer that it had; None if it cannot have had
    it there. Where the answer is unknown, the state that it leads to by taking effect.
    """

    initial: S
    step: Callable[[S, Operation], S | None]


def search(model: Model[S], operations: Sequence[Operation], limit: int = LIMIT) -> Order:
    """Look for an order of operations on one object."""
    ordered = sorted(operations, key=lambda each: each.invoked)
    wanted = sum(1 << number for number, each in enumerate(ordered) if each.ended != NEVER)
    seen: set[tuple[int, S]] = set()
    todo: list[tuple[int, S]] = [(0, model.initial)]
    while todo:
        place = todo.pop()
        if place in seen:
            continue
        seen.add(place)
        done, state = place
        if done & wanted == wanted:
            return Order.FOUND
        if len(seen) > limit:
            return Order.UNDECIDED
        todo += _next(model, ordered, done, state)
    return Order.NONE


def _next(model: Model[S], ordered: Sequence[Operation], done: int, state: S) -> list[tuple[int, S]]:
    """Return the places that one more operation leads to."""
    places = []
    for number, each in _candidates(ordered, done):
        after = model.step(state, each)
        if after is None:
            continue
        if after != state:
            places.append((done | 1 << number, after))
        elif each.ended != NEVER:
            # It fits here and changes nothing: whatever order there is, there is one with it here.
            return [(done | 1 << number, after)]
    return places


def _candidates(ordered: Sequence[Operation], done: int) -> list[tuple[int, Operation]]:
    """Return those of the rest that began before any other of the rest had ended."""
    end = NEVER
    begun = []
    for number, each in enumerate(ordered):
        if done >> number & 1:
            continue
        # In the order of their beginnings, so none of the following began before this end.
        if each.invoked > end:
            break
        begun.append((number, each))
        end = min(end, each.ended)
    return [(number, each) for number, each in begun if each.invoked <= end]
