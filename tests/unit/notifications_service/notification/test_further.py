"""What only some notifications have: what is said in the contract is what is stored, and what comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import bson
import pytest
from bson import Code, DBRef, ObjectId
from google.protobuf.duration_pb2 import Duration
from hypothesis import given
from hypothesis import strategies as st
from vibework.notifications.v1 import notification_pb2 as pb

from notifications_service.feed import requests
from notifications_service.mongodb.codec import CODEC_OPTIONS, Document
from notifications_service.notification import documents, further, messages
from notifications_service.notification.documents import Type, Urgency
from notifications_service.notification.words import TYPE_TO_PROTO, URGENCY_TO_PROTO
from tests.harness.clocks import stored_now

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
MILLISECONDS = st.integers(0, 7 * 86_400_000)
MAILS = st.builds(
    pb.EmailChannel,
    content=st.none() | st.builds(pb.EmailContent, subject=TEXTS, text=TEXTS, html=TEXTS, reply_to=TEXTS),
    delay=st.none()
    | MILLISECONDS.map(lambda number: Duration(seconds=number // 1_000, nanos=number % 1_000 * 1_000_000)),
    unless_read=st.booleans(),
)
PUSHES = st.builds(
    pb.PushChannel,
    content=st.none() | st.builds(pb.PushContent, title=TEXTS, body=TEXTS, url=TEXTS, icon=TEXTS),
    ttl=st.none() | st.integers(0, 28 * 86_400).map(lambda number: Duration(seconds=number)),
)
AHEAD = st.integers(1, 10**12).map(
    lambda number: messages.timestamp(stored_now() + timedelta(hours=1, milliseconds=number))
)
CONTENTS = st.builds(
    pb.NotificationContent,
    title=TEXTS,
    message=TEXTS,
    type=st.sampled_from(pb.NotificationType.values()[1:]),
    channels=st.lists(st.sampled_from(pb.NotificationType.values()[1:]), unique=True),
    email=st.none() | MAILS,
    push=st.none() | PUSHES,
    urgency=st.sampled_from(pb.NotificationUrgency.values()),
    critical=st.booleans(),
    expires_at=st.none() | AHEAD,
    **dict.fromkeys(("collapse_key", "thread_key", "locale"), TEXTS),
)


def stored(content: pb.NotificationContent) -> Document:
    """A notification as the database gives it back."""
    document = documents.new(requests.draft("user", content, stored_now), stored_now())
    return bson.decode(bson.encode(document), CODEC_OPTIONS)


def said(message: Any) -> Any:
    """A channel without an empty content, which says nothing."""
    for name in further.LARGE:
        if message.HasField(name) and not getattr(message, name).content.ByteSize():
            getattr(message, name).ClearField("content")
    return message


@given(CONTENTS)
def test_what_is_said_comes_back(content: Any) -> None:
    """Each field by itself: set, empty or absent; lists leave out what can be large, and nothing else."""
    document = stored(content)
    whole: Any = messages.to_message(document)
    content = said(content)
    for name in further.FIELDS:
        assert getattr(whole, name) == getattr(content, name), name
    for name in (*further.LARGE, "expires_at"):
        assert whole.HasField(name) == content.HasField(name), name
    listed = messages.to_message(document, messages.LISTED)
    for name in further.LARGE:
        whole.ClearField(name)
    assert listed == whole
    kept = {field.stored for field in further.FIELDS.values()} & document.keys()
    assert kept == {
        further.FIELDS[field.name].stored for field, _ in content.ListFields() if field.name in further.FIELDS
    }


def test_every_field_of_a_content_is_stored() -> None:
    """None is forgotten when one is added; each is one of a notification, too."""
    plain = {"title", "message", "type", "category", "data", "scheduled_at"}
    assert plain | further.FIELDS.keys() == set(pb.NotificationContent.DESCRIPTOR.fields_by_name)
    assert further.FIELDS.keys() <= set(pb.Notification.DESCRIPTOR.fields_by_name)


def test_every_word_of_the_contract_is_known() -> None:
    """No value of the enums is forgotten when one is added."""
    assert set(TYPE_TO_PROTO) == set(Type)
    assert set(URGENCY_TO_PROTO) == set(Urgency)
    assert set(TYPE_TO_PROTO.values()) == set(pb.NotificationType.values()[1:])
    assert set(URGENCY_TO_PROTO.values()) == set(pb.NotificationUrgency.values()[1:])


def test_what_is_not_said_is_not_stored() -> None:
    """A notification of the feed alone costs what it did."""
    document = stored(pb.NotificationContent(title="t", message="m", type=pb.NOTIFICATION_TYPE_IN_APP))
    assert not document.keys() & {field.stored for field in further.FIELDS.values()}
    assert not further.any_in(document)


def test_times_are_rounded_down_to_what_is_kept() -> None:
    """Milliseconds of an expiry and of a delay, seconds of a TTL."""
    content = pb.NotificationContent(type=pb.NOTIFICATION_TYPE_EMAIL, channels=[pb.NOTIFICATION_TYPE_PUSH])
    content.email.delay.CopyFrom(Duration(seconds=1, nanos=2_999_999))
    content.push.ttl.CopyFrom(Duration(seconds=3, nanos=999_999_999))
    content.expires_at.FromDatetime(stored_now() + timedelta(days=1))
    content.expires_at.nanos += 999_999
    whole = messages.to_message(stored(content))
    assert (whole.email.delay, whole.push.ttl) == (Duration(seconds=1, nanos=2_000_000), Duration(seconds=3))
    assert whole.expires_at.ToMilliseconds() * 1_000_000 == whole.expires_at.ToNanoseconds()
    assert whole.expires_at.ToMilliseconds() == content.expires_at.ToMilliseconds()


ROW: Document = {
    "_id": ObjectId(),
    "userId": "u",
    "title": "t",
    "message": "m",
    "type": "email",
    "createdAt": stored_now(),
}


@pytest.mark.parametrize("name", further.FIELDS)
@pytest.mark.parametrize(
    "value", [5, 5.5, [], [7], {}, {"a": 1}, b"x", True, ObjectId(), DBRef("a", 1), Code("low"), [Code("push")], "sms"]
)
def test_what_another_system_wrote_wrongly_counts_as_not_said(name: str, value: Any) -> None:
    """But for what rows are found by, which makes its row unreadable, as the index says that lists these."""
    field = further.FIELDS[name]
    plain = messages.to_message(ROW)
    try:
        found = messages.to_message(ROW | {field.stored: value})
    except messages.Unreadable:
        assert name in {"expires_at", "thread_key"}
        return
    if name in {"expires_at", "thread_key"}:
        assert isinstance(value, str)
        return
    if getattr(found, name) != getattr(plain, name):
        assert (name, value) in [("critical", True), ("collapse_key", "sms"), ("locale", "sms")]


@pytest.mark.parametrize("part", ["subject", "text", "html", "replyTo", "delay", "unlessRead"])
@pytest.mark.parametrize("value", [5.5, [], {}, None, -1, 2**40, b"x"])
def test_a_wrong_part_spoils_no_other(part: str, value: Any) -> None:
    """Each part of what is said of a channel is taken by itself."""
    right = {"subject": "s", "text": "t", "html": "h", "replyTo": "r@example.com", "delay": 5, "unlessRead": True}
    found = messages.to_message(ROW | {"email": right | {part: value}}).email
    left_out = messages.to_message(ROW | {"email": {name: right[name] for name in right if name != part}}).email
    assert found == left_out
    assert found.ByteSize()
