"""Who shares a reading of the history, and who gets which change of it."""

from __future__ import annotations

from bson import ObjectId, Timestamp

from notifications_service.watch import changes
from notifications_service.watch.changes import ChangeEvent, ChangeKind, StreamPosition
from notifications_service.watch.history import HistoryRange, _near, _Sorter


def at(seconds: int, number: int = 0) -> StreamPosition:
    """Return a position."""
    return changes.before(Timestamp(1_700_000_000 + seconds, number))


def change(user_id: str, position: StreamPosition) -> ChangeEvent:
    """Return a change at a position."""
    return ChangeEvent(position, changes.time_of(position), ChangeKind.DELETED, ObjectId(), user_id, None)


def test_long_and_short_histories_are_read_apart() -> None:
    """Nobody waits for a history that begins much earlier; the first that asks is always served."""
    recent, old, older = (
        HistoryRange("a", at(1_000), at(1_010)),
        HistoryRange("b", at(400), at(1_010)),
        HistoryRange("c", at(0), at(9)),
    )
    also = HistoryRange("d", at(990), at(1_010))
    assert _near([recent, old, also, older]) == [recent, also]
    assert _near([old, recent, also, older]) == [old]


def test_each_gets_its_own_changes_after_its_own_place() -> None:
    """Watchers of one user that ask from different places each get what is theirs."""
    early, late, other = (
        HistoryRange("u", at(0), at(9)),
        HistoryRange("u", at(3), at(9)),
        HistoryRange("v", at(0), at(9)),
    )
    sorter = _Sorter([early, late, other])
    made = [change("u", at(second)) for second in (1, 3, 5)]
    for item in (*made, change("v", at(4)), change("nobody", at(6)), change("u", at(10))):
        sorter.take(item)
    parts = sorter.parts(at(7))
    assert parts[early].changes == made
    assert parts[late].changes == [made[2]]
    assert [item.position for item in parts[other].changes] == [at(4)]
    assert sorter.count == 5


def test_a_part_reaches_no_further_than_was_read_or_wanted() -> None:
    """What was not read yet must be asked for again; what was, never."""
    far, near, ahead = HistoryRange("a", at(0), at(9)), HistoryRange("b", at(0), at(5)), HistoryRange("c", at(8), at(9))
    parts = _Sorter([far, near, ahead]).parts(at(7))
    assert (parts[far].reached, parts[near].reached, parts[ahead].reached) == (at(7), at(5), at(8))
