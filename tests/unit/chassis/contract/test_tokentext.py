"""Token text: sealed bytes have one spelling, and no module has another way to read them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import chassis
import notifications_service
import users_service
from chassis.contract import tokentext
from tests.harness import spellings

# They read what no caller hands back: keys from settings, columns, and hashes of other systems.
NO_TOKENS = {
    "chassis/keyring.py",
    "notifications_service/push_subscriptions/keys.py",
    "users_service/accounts/tokens.py",
    "users_service/passwords/formats.py",
}


@given(st.binary(max_size=80))
def test_bytes_come_back_from_text_that_fits_into_a_url(sealed: bytes) -> None:
    """Whoever puts a token into a link need not escape it."""
    text = tokentext.write(sealed)
    assert re.fullmatch("[A-Za-z0-9_-]*", text)
    assert tokentext.read(text) == sealed


@given(st.binary(min_size=1, max_size=80))
def test_another_spelling_of_the_same_bytes_is_no_token(sealed: bytes) -> None:
    """Padding, the other alphabet, stray bits and spaces make another text, and so no token."""
    for text in spellings.of_base64(tokentext.write(sealed)):
        try:
            assert tokentext.read(text) != sealed
        except ValueError:
            continue


@pytest.mark.parametrize("text", ["A", "é", "\ud800", "AA=A", "A" * 5])
def test_what_is_no_base64_is_a_value_error(text: str) -> None:
    """Callers may send any text."""
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind
        tokentext.read(text)


def test_no_other_module_reads_base64_of_a_caller() -> None:
    """A token of a new kind is read here, too: each other decoder has spellings of its own."""
    decoders = re.compile(r"\b(b64decode|urlsafe_b64decode|standard_b64decode|a2b_base64|decodebytes)\b")
    packages = [Path(package.__path__[0]) for package in (chassis, users_service, notifications_service)]
    found = {
        path.relative_to(folder.parent).as_posix()
        for folder in packages
        for path in folder.rglob("*.py")
        if decoders.search(path.read_text())
    }
    assert found == NO_TOKENS | {"chassis/contract/tokentext.py"}
