"""The text of a push message, and how it is cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications_service.delivery.channels.channel import PushMessage
from notifications_service.delivery.channels.push_encryption import MOST_PLAINTEXT
from notifications_service.delivery.channels.push_payload import PayloadTooLarge, cut, payload

FAMILY = "👨‍👩‍👧‍👦"
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def _message(title: str, body: str, **rest: Any) -> PushMessage:
    return PushMessage("dlv_1", "0123456789abcdef01234567", title, body, **rest)


def test_a_message_has_what_the_page_needs() -> None:
    """Its text, what to open and to show, and the ids; what is empty is left out."""
    whole = _message("Hi", "x", url="/inbox", icon="https://a.example/i.png")
    assert json.loads(payload(whole)) == {
        "title": "Hi",
        "body": "x",
        "url": "/inbox",
        "icon": "https://a.example/i.png",
        "notification_id": "0123456789abcdef01234567",
        "delivery_id": "dlv_1",
    }
    assert json.loads(payload(PushMessage("dlv_1", "", "Hi", ""))) == {
        "title": "Hi",
        "body": "",
        "delivery_id": "dlv_1",
    }


def test_the_body_is_cut_before_the_title() -> None:
    """A long body loses its end and the title stays; it fills the message but for the rest of a character."""
    made = payload(_message("t" * 255, "ü" * 4_096))
    message = json.loads(made)
    assert message["title"] == "t" * 255
    assert message["body"].endswith("ü…")
    assert MOST_PLAINTEXT - len(made) in (0, 1)


def test_the_title_is_cut_once_the_body_has_no_room() -> None:
    """Characters that JSON has to escape count as they are written."""
    message = json.loads(payload(_message("\x01" * 1_000, "body")))
    assert message["title"] == "\x01" * (len(message["title"]) - 1) + "…"
    assert message["body"] in ("", "…")


def test_urls_that_fill_a_message_make_it_too_large() -> None:
    """They cannot be cut, and no title without its link is sent in their place."""
    with pytest.raises(PayloadTooLarge):
        payload(_message("t", "b", url="/" + '"' * 1_000, icon="/" + "\\" * 1_000))


@given(TEXTS.map(lambda text: text * 7), TEXTS.map(lambda text: text * 99))
def test_every_text_fits(title: str, body: str) -> None:
    """What is sent is JSON of at most the longest size, and each text is whole or a beginning with an ellipsis."""
    made = payload(_message(title, body))
    assert len(made) <= MOST_PLAINTEXT
    for name, text in (("title", title), ("body", body)):
        shown = json.loads(made)[name]
        assert shown in (text, "") or (shown.endswith("…") and text.startswith(shown[:-1]))


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "ab…"),
        ("abcdef", 3, "…"),
        ("abcdef", 2, ""),
        ("ab cdef", 6, "ab…"),
        ("ae\u0301bcdef", 5, "a…"),
        (f"a{FAMILY}b", 20, "a…"),
        (f"a{FAMILY}bcdefg", 29, f"a{FAMILY}…"),
        ("a👍🏽bcdefgh", 8, "a…"),
        ("🇩🇪🇫🇷abcdef", 18, "🇩🇪…"),
        ("\U0001f600\U0001f600", 7, "\U0001f600…"),
    ],
)
def test_a_cut_is_between_characters(text: str, room: int, shown: str) -> None:
    """Neither an accent, nor a family, a skin tone or a flag is torn apart."""
    assert cut(text, room) == shown


def test_a_heap_of_accents_is_cut_somewhere() -> None:
    """A text of accents alone has no end of a character, and does not vanish for that."""
    assert len(cut("a" + "\u0301" * 1_000, 500)) > 200
