"""Checks of sets: whether what was acknowledged is there, once, and whether answers went to those who had asked."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.harness.history.record import Creation, Removal, Stored


def lost(creations: Sequence[Creation], removals: Sequence[Removal], stored: Stored) -> Iterator[str]:
    """Yield what was acknowledged and is not there, and what was acknowledged as removed and is."""
    removed = {(each.kind, each.id) for each in removals}
    for each in creations:
        for id_ in each.ids or ():
            if id_ not in stored.of(each.kind) and (each.kind, id_) not in removed:
                yield f"{each.kind} {id_} of {each.nonce} is gone"
    for removal in removals:
        if removal.known and removal.id in stored.of(removal.kind):
            yield f"{removal.kind} {removal.id} was removed and is there"


def doubled(creations: Sequence[Creation], stored: Stored) -> Iterator[str]:
    """Yield the calls, or repetitions with one request_id, that took effect more than once."""
    found = {kind: Counter(rows.values()) for kind, rows in stored.rows.items()}
    for kind, nonce, rows in dict.fromkeys((each.kind, each.nonce, each.rows) for each in creations):
        if found.get(kind, Counter())[nonce] > rows:
            yield f"{found[kind][nonce]} {kind} of {nonce}, which makes {rows}"
    answers: defaultdict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for each in creations:
        if each.request_id and each.ids is not None:
            answers[each.kind, each.request_id].add(each.ids)
    for (kind, request_id), ids in answers.items():
        if len(ids) > 1:
            yield f"{len(ids)} answers to request {request_id}, which makes {kind}"


def partial(creations: Sequence[Creation], removals: Sequence[Removal], stored: Stored) -> Iterator[str]:
    """Yield the calls that took effect in part, of which nothing was removed since."""
    removed = {each.id for each in removals}
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for kind, rows in stored.rows.items():
        for nonce in rows.values():
            found[kind, nonce] += 1
    # Of several calls with one request_id one may know what they made, and remove it, while another was never answered.
    touched = {(each.kind, each.nonce) for each in creations if not removed.isdisjoint(each.ids or ())}
    for each in creations:
        if (each.kind, each.nonce) not in touched and 0 < found[each.kind, each.nonce] < each.rows:
            yield f"{found[each.kind, each.nonce]} {each.kind} of {each.nonce}, which makes {each.rows}"


def foreign(creations: Sequence[Creation], stored: Stored) -> Iterator[str]:
    """Yield the answers that carry another call's nonce, or name what another call made."""
    for each in creations:
        if set(each.echoed) - {each.nonce}:
            yield f"{each.nonce} was answered {', '.join(sorted(set(each.echoed)))}"
        for id_ in each.ids or ():
            found = stored.of(each.kind).get(id_, each.nonce)
            if found != each.nonce:
                yield f"{each.nonce} was answered {id_}, which {found} made"
