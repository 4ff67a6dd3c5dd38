"""Stored documents: what new ones hold, their etags, and their times."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st
from vibework.notifications.v1 import notification_pb2 as pb

from chassis.contract import etags
from notifications_service.notification import documents, messages
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.documents import Draft, Type
from tests.harness.clocks import stored_now


def test_a_notification_sums_up_one_delivery_for_each_channel_by_which_it_goes_out() -> None:
    """Its type and its channels, each once, but not the feed; what is in the feed alone sums up nothing."""
    at = stored_now()
    channels = {"channels": ["in-app", "email", "push"]}
    document = documents.new(Draft("u", "t", "m", Type.PUSH, further=channels), at)
    waits = {"state": "pending", "rev": 1}
    assert document["delivery"] == {"state": "pending", "byChannel": {"push": waits, "email": waits}}
    assert "sentAt" not in document
    assert documents.new(Draft("u", "t", "m", Type.IN_APP), at)["delivery"] == {"state": "sent"}


def test_an_etag_leads_back_to_its_state_only() -> None:
    """The condition made of an etag holds for the document it was made of, whatever fields that has."""
    at = stored_now()
    for document in ({"rev": 3, "updatedAt": at}, {"updatedAt": at}, {"rev": 0}, {}):
        etag = documents.etag(document)
        query = documents.etag_query(etag)
        assert query is not None
        assert query["rev"].get("$eq") == (document.get("rev") or None)
        assert query["updatedAt"].get("$eq") == (DatetimeMS(at) if "updatedAt" in document else None)
        assert etag == etags.write(*(etags.read(etag, 2) or ()))


@pytest.mark.parametrize("etag", ["x", "1", '"1"', "1.0", '"1.5.0"', '"one.0"', '".0"', '"1.0 "', '"01.0"'])
def test_what_is_no_etag_matches_nothing(etag: str) -> None:
    """It is told apart from one that is outdated only by this service."""
    assert documents.etag_query(etag) is None


def test_every_field_of_the_contract_is_converted() -> None:
    """No field of `Notification` is forgotten when one is added, and each has what it is made of."""
    assert set(messages.SOURCES) == set(pb.Notification.DESCRIPTOR.fields_by_name)


def test_every_state_of_a_delivery_has_its_value() -> None:
    """No state of the enum is forgotten when one is added."""
    known = {pb.DeliveryState.Name(state) for state in messages.DELIVERY_STATE_TO_PROTO.values()}
    assert known == set(pb.DeliveryState.keys())
    stored = {state.value for state in DeliveryState}
    assert {state for state in messages.DELIVERY_STATE_TO_PROTO if state} == stored


def test_what_is_wrong_is_named_without_its_value() -> None:
    """The log names document and fields; what a user was told stays out of it."""
    document: dict[str, Any] = {"_id": ObjectId(), "title": 5, "message": "private", "type": "secret"}
    with pytest.raises(messages.Unreadable) as caught:
        messages.to_message(document)
    assert str(document["_id"]) in str(caught.value)
    assert "title, type" in str(caught.value)
    assert "private" not in str(caught.value)
    assert "secret" not in str(caught.value)


WRONG = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.none())
TIMES = st.datetimes() | st.none()
ANYTHING = WRONG | st.integers(0, 1_000) | st.text(max_size=5)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("userId", "title", "message", "category"), st.text(max_size=5)),
    **dict.fromkeys(("seen", "read", "archived"), st.booleans()),
    **dict.fromkeys(("seenAt", "readAt", "archivedAt", "sentAt", "createdAt", "updatedAt"), TIMES),
    "type": st.sampled_from(["email", "push", "in-app"]),
    "rev": st.integers(0, 9),
    "data": st.dictionaries(
        st.text(max_size=3), st.floats(allow_nan=False) | st.text(max_size=3) | st.lists(st.none())
    ),
    "expiresAt": TIMES,
    **dict.fromkeys(("threadKey", "collapseKey", "locale"), st.text(max_size=5)),
    "channels": st.lists(st.sampled_from(["email", "push", "in-app", "sms"]), max_size=3),
    "urgency": st.sampled_from(["very-low", "high", "unknown"]),
    "critical": st.booleans(),
    "email": st.dictionaries(st.sampled_from(["subject", "delay", "unlessRead", "other"]), ANYTHING, max_size=3),
    "push": st.dictionaries(st.sampled_from(["title", "icon", "ttl"]), ANYTHING, max_size=3),
    "delivery": st.fixed_dictionaries({"state": st.sampled_from(["sent", "failed"])}, optional={"scheduledAt": TIMES}),
}
DOCUMENTS = st.fixed_dictionaries({"_id": st.builds(ObjectId)}, optional=FIELDS)
SPOILT = st.tuples(DOCUMENTS, st.sampled_from(sorted(FIELDS)), WRONG).map(lambda made: made[0] | {made[1]: made[2]})


@given(DOCUMENTS | SPOILT)
def test_the_quick_conversion_agrees_with_the_table(document: dict[str, Any]) -> None:
    """Whole messages are made by a shorter way than single fields; where it succeeds the table says the same."""
    try:
        quick = messages._whole(document, pb.Notification)
    except messages._WRONG:
        return
    assert messages.to_message(document, list(messages.SOURCES)) == quick


@given(DOCUMENTS | SPOILT)
def test_what_the_table_reads_the_quick_conversion_does_not_refuse(document: dict[str, Any]) -> None:
    """A row that can be read never takes the long way for being unusual."""
    try:
        whole = messages.to_message(document, list(messages.SOURCES))
    except messages.Unreadable:
        return
    assert messages._whole(document, pb.Notification) == whole
