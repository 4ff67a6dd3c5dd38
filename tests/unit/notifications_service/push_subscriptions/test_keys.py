"""The ring of keys for Web Push, as its setting spells it."""

from __future__ import annotations

import base64

import pytest

from notifications_service.push_subscriptions.keys import PushKeys
from tests.harness.push_service import unbase64url

# The application server of RFC 8291, section 5.
PRIVATE = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
PUBLIC = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8"
ORDER = "/////wAAAAD//////////7zm+q2nF56E87nKwvxjJVE="


def test_the_first_key_is_told_and_all_sign() -> None:
    """A key's public half is the one that browsers know from other libraries, in whatever base64 it comes."""
    standard = base64.b64encode(unbase64url(PRIVATE)).decode()
    keys = PushKeys.parse(f"new:{PRIVATE}, old:{standard}")
    assert keys.newest is keys.by_id["new"]
    assert [key.public for key in keys.by_id.values()] == [unbase64url(PUBLIC)] * 2


def test_without_keys_there_is_no_push() -> None:
    """An empty ring has no newest key."""
    assert PushKeys.parse("").newest is None


@pytest.mark.parametrize(
    "text",
    [
        PRIVATE,
        f":{PRIVATE}",
        f"a:{PRIVATE},a:{PRIVATE}",
        f"a b:{PRIVATE}",
        "a:",
        "a:x",
        f"a:{PRIVATE}AA",
        f"a:{ORDER}",
        f"a:{'A' * 43}",
        f"{'k' * 33}:{PRIVATE}",
    ],
)
def test_what_is_no_key_is_refused_without_being_shown(text: str) -> None:
    """The message names the entry, and repeats nothing of it."""
    with pytest.raises(ValueError, match=r"^key [12]: ") as refused:
        PushKeys.parse(text)
    assert PRIVATE not in str(refused.value)


def test_a_key_is_not_shown() -> None:
    """A log or a traceback with the ring in it has no private key."""
    assert "private" not in repr(PushKeys.parse(f"k:{PRIVATE}"))
