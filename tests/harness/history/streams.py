"""Checks of watches: each change once to each watcher, in an order in which they agree."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from tests.harness.history.record import Change, Told


def repeated(told: Sequence[Told]) -> Iterator[str]:
    """Yield what a watcher was told more than once."""
    for (stream, *change), count in Counter((each.stream, *each.change) for each in told).items():
        if count > 1:
            yield f"{stream} was told {change} {count} times"


def lost(told: Sequence[Told], changes: Sequence[Change]) -> Iterator[str]:
    """Yield the acknowledged changes that a watcher was not told."""
    heard = {(each.stream, *each.change) for each in told}
    for change in changes:
        for stream in change.streams:
            if (stream, change.kind, change.id, change.revision) not in heard:
                yield f"{stream} was not told {(change.kind, change.id, change.revision)}"


def disordered(told: Sequence[Told]) -> Iterator[str]:
    """Yield where states of one thing went backwards, and where two watchers disagree on an order."""
    by_stream: defaultdict[str, list[Told]] = defaultdict(list)
    for each in told:
        by_stream[each.stream].append(each)
    for stream, events in by_stream.items():
        yield from _backwards(stream, events)
    yield from _disagreeing({stream: [each.change for each in events] for stream, events in by_stream.items()})


def _backwards(stream: str, events: Sequence[Told]) -> Iterator[str]:
    last: dict[str, int] = {}
    for each in events:
        if each.revision and each.revision < last.get(each.id, 0):
            yield f"{stream} was told revision {each.revision} of {each.id} after {last[each.id]}"
        last[each.id] = max(each.revision, last.get(each.id, 0))


def _disagreeing(streams: Mapping[str, list[tuple[str, str, int]]]) -> Iterator[str]:
    names = sorted(streams)
    for first, second in pairwise(names):
        places = {change: place for place, change in enumerate(streams[second])}
        common = [places[change] for change in dict.fromkeys(streams[first]) if change in places]
        if common != sorted(common):
            yield f"{first} and {second} were told in different orders"
