"""Resume tokens of WatchUsers."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.keyring import Keyring
from chassis.watching.errors import ResumeTokenInvalid
from users_service.events.model import Place
from users_service.watch.tokens import ResumeTokens

KEY = "id:" + base64.b64encode(bytes(32)).decode()
TOKENS = ResumeTokens(Keyring.parse(KEY))

numbers = st.integers(0, 2**63 - 1)
places = st.builds(Place, st.binary(min_size=16, max_size=16), numbers, numbers)


@given(places)
def test_a_token_gives_back_its_place(place: Place) -> None:
    """Whatever the epoch and the number are, within the length that the contract allows."""
    token = TOKENS.issue(place)
    assert TOKENS.read(token) == place
    assert len(token) <= 2_048


@given(st.data())
def test_no_changed_token_is_read(data: st.DataObject) -> None:
    """Every change of a character, cut or addition is refused, and so is any other text."""
    token = TOKENS.issue(Place(bytes(16), 7, 1))
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="utf-8"))
    for forged in (token[:at] + other + token[at + 1 :], token[:at], token + other, data.draw(st.text())):
        if forged != token:
            with pytest.raises(ResumeTokenInvalid):
                TOKENS.read(forged)


def test_tokens_of_a_retired_key_hold_while_it_is_on_the_ring() -> None:
    """Keys rotate without cutting off the watchers; a key that is gone takes its tokens along."""
    token = TOKENS.issue(Place(bytes(16), 7, 1))
    new = "new:" + base64.b64encode(b"n" * 32).decode()
    assert ResumeTokens(Keyring.parse(f"{new},{KEY}")).read(token).seq == 7
    with pytest.raises(ResumeTokenInvalid):
        ResumeTokens(Keyring.parse(new)).read(token)


def test_a_token_of_the_other_service_is_none() -> None:
    """Under the same keys, too: each use has keys of its own."""
    ring = Keyring.parse(KEY)
    sealed = ring.cipher("resume-tokens").encrypt(b"\x01" + bytes(32))
    with pytest.raises(ResumeTokenInvalid):
        TOKENS.read(base64.urlsafe_b64encode(sealed).rstrip(b"=").decode())
