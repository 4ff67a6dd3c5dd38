"""The verdict on a history: all checks, each with what breaks it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.harness.history import effects, streams
from tests.harness.history.models import MODELS
from tests.harness.history.record import OK, Call, History, Operation, Stored
from tests.harness.history.search import Order, search

# What gRPC itself says, on either side, without any service (docs/retries.md).
OF_GRPC: Final = frozenset({("UNAVAILABLE", ""), ("CANCELLED", ""), ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")})
# A fault of the server, whatever it was promised for.
DEFECTS: Final = frozenset({"INTERNAL"})

# Reasons by ``Service/Method``.
Promises = Callable[[str], frozenset[str]]


@dataclass(frozen=True)
class Verdict:
    """What breaks a history, by check; a check without an entry found nothing."""

    broken: Mapping[str, Sequence[str]]
    # Keys of which the search gave up.
    undecided: Sequence[str] = ()
    checked: Mapping[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Say whether nothing breaks it."""
        return not self.broken and not self.undecided


CHECKS: Final = ("lost", "doubled", "foreign", "watch", "codes", "order")


def judge(history: History, stored: Stored, promises: Promises) -> Verdict:
    """Check a history against what the databases hold."""
    creations, removals = history.creations, history.removals
    unordered, undecided, keys = _orders(history.operations)
    found: dict[str, list[str]] = {
        "lost": [*effects.lost(creations, removals, stored), *effects.partial(creations, removals, stored)],
        "doubled": list(effects.doubled(creations, stored)),
        "foreign": list(effects.foreign(creations, stored)),
        "watch": [
            *streams.repeated(history.told),
            *streams.lost(history.told, history.changes),
            *streams.disordered(history.told),
        ],
        "codes": list(outside(history.calls, promises)),
        "order": unordered,
    }
    checked = {
        "calls": len(history.calls),
        "effects": len(creations) + len(removals),
        "events": len(history.told),
        "keys": keys,
    }
    return Verdict({name: broken for name, broken in found.items() if broken}, undecided, checked)


def outside(calls: Sequence[Call], promises: Promises) -> Iterator[str]:
    """Yield the errors that nobody was promised."""
    for call in calls:
        if call.code == OK or (call.code, call.reason) in OF_GRPC:
            continue
        if call.reason in DEFECTS or call.reason not in promises(call.rpc):
            yield f"{call.rpc} answered {call.code} {call.reason}".rstrip()


def _orders(operations: Sequence[Operation]) -> tuple[list[str], list[str], int]:
    by_key: defaultdict[tuple[str, str], list[Operation]] = defaultdict(list)
    for each in operations:
        by_key[each.kind, each.key].append(each)
    unordered, undecided = [], []
    for (kind, key), of_key in by_key.items():
        order = search(MODELS[kind], of_key)
        if order is Order.NONE:
            unordered.append(f"{kind} {key}: no order of its {len(of_key)} operations:{_told(of_key)}")
        elif order is Order.UNDECIDED:
            undecided.append(f"{kind} {key}")
    return unordered, undecided, len(by_key)


def _told(operations: Sequence[Operation]) -> str:
    """Return what was done to an object, for people: a line each, with seconds since the first."""
    begun = min(each.invoked for each in operations)
    return "".join(
        f"\n    {each.invoked - begun:.2f} to {each.ended - begun:.2f}: {each.name} {dict(each.given)}: "
        f"{'nobody knows' if each.told is None else dict(each.told)}"
        for each in sorted(operations, key=lambda each: each.invoked)
    )
