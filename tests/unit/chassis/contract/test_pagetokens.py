"""Page tokens: opaque, authenticated, bound to the filter; page sizes as AIP-158 wants them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.contract.pagetokens import InvalidPageToken, PageTokenFilterMismatch, PageTokens, page_size
from chassis.errors import InvalidFields
from chassis.keyring import Keyring

KEY = base64.b64encode(b"k" * 32).decode()
FILTER, OTHER = b"f" * 32, b"o" * 32
TOKENS = PageTokens(Keyring.parse(f"k1:{KEY}"))


@given(st.lists(st.integers(-(2**53), 2**53) | st.text(max_size=64), max_size=3))
def test_a_position_comes_back(position: list[int | str]) -> None:
    """What a list put in is what it gets, and the token fits into a URL."""
    token = TOKENS.issue(FILTER, position)
    assert TOKENS.read(token, FILTER) == position
    assert token.replace("-", "").replace("_", "").isalnum()


def test_another_filter_is_told_apart_from_a_forgery() -> None:
    """The caller learns whether to start again or to look for a defect."""
    token = TOKENS.issue(FILTER, [1, "a"])
    with pytest.raises(PageTokenFilterMismatch):
        TOKENS.read(token, OTHER)


@pytest.mark.parametrize("token", ["x", "....", "é", "A" * 3_000, "AQ", base64.urlsafe_b64encode(b"x" * 60).decode()])
def test_what_was_never_issued_is_refused(token: str) -> None:
    """A guessed or broken token is INVALID_ARGUMENT, never an internal error."""
    with pytest.raises(InvalidPageToken):
        TOKENS.read(token, FILTER)


@given(st.text(max_size=80))
def test_no_text_reads_as_a_token(text: str) -> None:
    """Whatever a caller sends is answered with the one error."""
    with pytest.raises(InvalidPageToken):
        TOKENS.read(text, FILTER)


def test_a_token_shows_nothing_of_the_row() -> None:
    """Positions hold ids and times of rows that the caller may not see."""
    token = TOKENS.issue(FILTER, ["user_01jd8k2v5rf2xbq0m3c9w7n4ht"])
    assert b"user_" not in base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))


@pytest.mark.parametrize(("requested", "used"), [(0, 20), (1, 1), (100, 100), (101, 100), (2**31 - 1, 100)])
def test_page_sizes(requested: int, used: int) -> None:
    """0 means the default, too many are coerced."""
    assert page_size(requested) == used


def test_a_negative_page_size_is_refused() -> None:
    """A negative size is a defect of the caller (AIP-158)."""
    with pytest.raises(InvalidFields) as caught:
        page_size(-1)
    assert caught.value.violations[0].field == "page_size"
