"""Change events, positions and places."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId, Timestamp

from notifications_service.watch import changes
from notifications_service.watch.changes import ChangeKind, HistoryLost, ResumePoint, StreamPosition

# As MongoDB 6.0 makes them: the start of a moment, an event in it, and a later event of the same transaction.
MOMENT = StreamPosition("826B033ECA000000082B0229296E04")
FIRST = StreamPosition("826B033ECA000000082B022C0100296E5A1004D22FBEEE007A411F92E87982C8B5815946645F69640064")
SECOND = StreamPosition("826B033ECA000000082B022C01002B026E5A1004D22FBEEE007A411F92E87982C8B581594664")
AT = Timestamp(0x6B033ECA, 8)


def event(operation: str, **fields: Any) -> dict[str, Any]:
    """Return an event as the driver gives it."""
    key = ObjectId("6b033eca245899d114d0c76e")
    return {
        "_id": {"_data": FIRST},
        "operationType": operation,
        "clusterTime": AT,
        "documentKey": {"_id": key},
    } | fields


def test_positions_begin_with_their_time() -> None:
    """The time is read from a position, and the position before a time lies before all of that moment."""
    assert changes.time_of(FIRST) == changes.time_of(MOMENT) == AT
    assert changes.before(AT) < MOMENT < FIRST < SECOND < changes.before(Timestamp(AT.time, AT.inc + 1))
    assert changes.time_of(changes.before(AT)) == AT


def test_a_place_covers_what_lies_before_it_and_all_up_to_its_floor() -> None:
    """A floor ahead of the position hides what was committed by then; later moments show."""
    assert ResumePoint(FIRST).covers(FIRST, AT)
    assert not ResumePoint(FIRST).covers(SECOND, AT)
    assert ResumePoint(MOMENT, AT).covers(SECOND, AT)
    assert not ResumePoint(MOMENT, AT).covers(SECOND, Timestamp(AT.time, AT.inc + 1))


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("insert", ChangeKind.CREATED), ("update", ChangeKind.UPDATED), ("replace", ChangeKind.UPDATED)],
)
def test_changes_carry_the_document(operation: str, kind: ChangeKind) -> None:
    """The document as it was right after the change comes with it, and says whose it is."""
    document = {"userId": "u", "title": "t"}
    (change,) = changes.parse(event(operation, fullDocument=document))
    assert (change.kind, change.user_id, change.document, change.position, change.at) == (
        kind,
        "u",
        document,
        FIRST,
        AT,
    )


def test_deletions_are_routed_by_the_image_before_them() -> None:
    """A deleted notification's user is known from its image."""
    (change,) = changes.parse(event("delete", fullDocumentBeforeChange={"userId": "u"}))
    assert (change.kind, change.user_id, change.document) == (ChangeKind.DELETED, "u", None)
    assert change.before == {"userId": "u"}


@pytest.mark.parametrize("lost", [event("delete"), event("update", fullDocument=None), event("invalidate")])
def test_what_cannot_be_routed_is_lost_history(lost: dict[str, Any]) -> None:
    """An event whose user is unknown must not be dropped silently."""
    with pytest.raises(HistoryLost):
        changes.parse(lost)


@pytest.mark.parametrize(
    "foreign",
    [
        event("insert", fullDocument={"userId": 5}),
        event("insert", fullDocument={"userId": "u"}, documentKey={"_id": 5}),
        event("delete", fullDocumentBeforeChange={}),
        event("insert", fullDocument={"userId": "u"}, _id={"_data": FIRST, "_typeBits": b"\\x01"}),
    ],
)
def test_rows_that_are_no_notifications_concern_nobody(foreign: dict[str, Any]) -> None:
    """A bad row in the collection neither reaches a watcher nor ends the watch."""
    assert changes.parse(foreign) == ()


@pytest.mark.parametrize("operation", ["update", "replace"])
@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("a", "b", [("a", ChangeKind.DELETED), ("b", ChangeKind.CREATED)]),
        ("a", 5, [("a", ChangeKind.DELETED)]),
        (["a", "b"], "b", [("b", ChangeKind.CREATED)]),
        (None, "b", [("b", ChangeKind.CREATED)]),
        ("a", "a", [("a", ChangeKind.UPDATED)]),
    ],
)
def test_a_row_that_goes_to_another_user_concerns_both(
    operation: str, before: Any, after: Any, expected: list[tuple[str, ChangeKind]]
) -> None:
    """It is gone for the one and new to the other, at one position; who is no user hears nothing."""
    found = changes.parse(event(operation, fullDocument={"userId": after}, fullDocumentBeforeChange={"userId": before}))
    assert [(change.user_id, change.kind) for change in found] == expected
    assert all((change.document is None) is (change.kind is ChangeKind.DELETED) for change in found)
