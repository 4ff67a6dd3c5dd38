"""Etags: one form, compared as text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.contract import etags

NUMBERS = st.none() | st.integers(-(2**63), 2**63 - 1)


@given(st.lists(NUMBERS, min_size=1, max_size=3))
def test_the_numbers_of_an_etag_come_back(numbers: list[int | None]) -> None:
    """What was issued is read as what it was made of, and is text in quotation marks."""
    etag = etags.write(*numbers)
    assert etag[0] == etag[-1] == '"'
    assert etags.read(etag, len(numbers)) == tuple(numbers)
    assert etags.read(etag, len(numbers) + 1) is None


@given(st.text('"0123456789.-+_ x१\n', max_size=9))
def test_only_one_text_is_the_etag_of_a_state(text: str) -> None:
    """Whatever is read is what would be written: no second spelling matches a state."""
    for count in (1, 2):
        numbers = etags.read(text, count)
        assert numbers is None or etags.write(*numbers) == text


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "3",
            '"3',
            '3"',
            "'3'",
            '"03"',
            '"+3"',
            '" 3"',
            '"3 "',
            '"3"\n',
            '"3.0"',
            '"3."',
            '"0x3"',
            '"3_0"',
            '"٣"',
        ),
        *('W/"3"', "*", '""3""', '"-0"', '"9223372036854775808"', f'"{"9" * 5_000}"'),
    ],
)
def test_another_spelling_is_no_etag(text: str) -> None:
    """Signs, spaces, zeros, other digits, weak etags, and numbers that no database has."""
    assert etags.read(text, 1) is None
