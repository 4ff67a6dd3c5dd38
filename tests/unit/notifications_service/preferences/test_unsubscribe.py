"""Unsubscribe links: which mails have one, what it looks like, and which settings make none."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from notifications_service.preferences.model import Category
from notifications_service.preferences.settings import UnsubscribeSettings
from notifications_service.preferences.unsubscribe import MOST_CHARACTERS, Subscription, UnsubscribeLinks, tokens_of

KEYS = "k1:" + base64.b64encode(bytes(range(32))).decode()
URL = "https://example.com/unsubscribe/{token}?from=mail"
NEWS = Category("news")


def settings(**values: Any) -> UnsubscribeSettings:
    """Return settings with keys and a URL, but for what is given."""
    return UnsubscribeSettings(**({"unsubscribe_url": URL, "unsubscribe_keys": KEYS} | values))


def test_a_link_says_whom_by_which_channel_and_of_what_to_nobody_but_us() -> None:
    """The token stands where the setting has it, and shows neither user nor category."""
    url = UnsubscribeLinks(settings()).of_mail("user_1", NEWS, critical=False)
    token = url.removeprefix("https://example.com/unsubscribe/").removesuffix("?from=mail")
    assert tokens_of(settings()).read(token) == Subscription("user_1", "email", "news")
    assert b"user_1" not in base64.urlsafe_b64decode(token + "==")
    assert "user_1" not in url
    assert "news" not in url


@pytest.mark.parametrize(
    ("category", "critical", "changed"),
    [
        (NEWS, True, {}),
        (Category("terms", mandatory=True), False, {}),
        (NEWS, False, {"unsubscribe_url": ""}),
        (NEWS, False, {"unsubscribe_url": "", "unsubscribe_keys": None}),
    ],
)
def test_what_cannot_be_switched_off_has_no_link(category: Category, critical: bool, changed: dict[str, Any]) -> None:
    """What is critical or mandatory goes out whatever anybody says; and without a page there is nothing to link to."""
    assert UnsubscribeLinks(settings(**changed)).of_mail("user_1", category, critical=critical) == ""


@pytest.mark.parametrize("user_id", ["u", "u" * 255, "ä" * 255, "😀" * 255])
def test_a_link_fits_into_a_line(user_id: str) -> None:
    """A header line cannot be folded within a URL: where it would be too long there is none."""
    url = UnsubscribeLinks(settings()).of_mail(user_id, NEWS, critical=False)
    assert len(url) <= MOST_CHARACTERS
    assert bool(url) is (user_id[0] != "😀")


@pytest.mark.parametrize(
    "changed",
    [
        {"unsubscribe_url": "http://example.com/{token}"},
        {"unsubscribe_url": "https://example.com/"},
        {"unsubscribe_url": "https://example.com/{token}/{token}"},
        {"unsubscribe_url": "https://example.com/{token}>,<mailto:eve@example.com"},
        {"unsubscribe_url": "https://example.com/{token}\r\nBcc: eve@example.com"},
        {"unsubscribe_url": "https://example.com/ä/{token}"},
        {"unsubscribe_url": "https://example.com/{token}/{user}"},
        {"unsubscribe_keys": None},
        {"unsubscribe_keys": "k1:short"},
    ],
)
def test_a_setting_that_makes_no_link_is_refused(changed: dict[str, Any]) -> None:
    """Mailboxes post to https alone (RFC 8058), and nothing from a setting breaks out of its header."""
    with pytest.raises(ValidationError):
        settings(**changed)


def test_keys_alone_are_enough_to_unsubscribe() -> None:
    """Mails that were sent while there was a page are unsubscribed from, though there is none for new ones."""
    token = tokens_of(settings()).issue(Subscription("user_1", "email", "news"))
    assert tokens_of(settings(unsubscribe_url="")).read(token) is not None


def test_of_no_keys_no_token_is_read() -> None:
    """Without a ring nothing was issued."""
    token = tokens_of(settings()).issue(Subscription("user_1", "email", "news"))
    assert tokens_of(UnsubscribeSettings()).read(token) is None
