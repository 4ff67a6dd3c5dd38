"""`as_of`: what is in it comes back, for its user alone, and says which rows were seen."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId, Timestamp
from bson.datetime_ms import DatetimeMS

from chassis.contract import tokentext
from chassis.keyring import Keyring
from notifications_service.errors import AsOfInvalid
from notifications_service.notification import as_of
from notifications_service.notification.as_of import MOST_IDS, SETTLING_SECONDS, SKEW_SECONDS, AsOf, AsOfTokens

KEYRING = Keyring.parse("a:" + "A" * 43 + "=")
AT = Timestamp(1_800_000_000, 7)
NOW = datetime(2027, 1, 15, 8)  # noqa: DTZ001


@pytest.fixture
def tokens() -> AsOfTokens:
    """Tokens under a key."""
    return AsOfTokens(KEYRING)


def rows(*ages: float) -> list[dict[str, Any]]:
    """Make rows created so many seconds ago."""
    return [{"_id": ObjectId(), "createdAt": NOW - timedelta(seconds=age)} for age in ages]


@pytest.mark.parametrize("count", [0, 1, MOST_IDS])
def test_what_was_seen_comes_back_and_fits_into_its_field(tokens: AsOfTokens, count: int) -> None:
    """The field takes 4,096 characters, also with the longest id of a key."""
    seen = AsOf(AT, tuple(ObjectId() for _ in range(count)))
    assert tokens.read("user", tokens.issue("user", seen)) == seen
    long = AsOfTokens(Keyring.parse("k" * 32 + ":" + "A" * 43 + "="))
    assert len(long.issue("user", seen)) <= 4_096


def test_nothing_known_is_empty(tokens: AsOfTokens) -> None:
    """Where the time of a read is not known there is none."""
    assert tokens.issue("user", None) == ""


def test_what_was_not_issued_for_this_user_is_refused(tokens: AsOfTokens) -> None:
    """Another user's, one of other keys or purposes, one that is cut, one of another version."""
    issued, cipher = tokens.issue("user", AsOf(AT)), KEYRING.cipher("as-of")
    other = Keyring.parse("b:" + "A" * 43 + "=")
    bad = [
        tokens.issue("another", AsOf(AT)),
        AsOfTokens(other).issue("user", AsOf(AT)),
        tokentext.write(KEYRING.cipher("page-tokens").encrypt(bytes(9), b"user")),
        tokentext.write(cipher.encrypt(bytes((1,)) + bytes(8 + 11), b"user")),
        tokentext.write(cipher.encrypt(bytes((2,)) + bytes(8), b"user")),
        tokentext.write(cipher.encrypt(b"", b"user")),
        issued[:-2],
        issued + "=",
        "",
    ]
    for token in bad:
        with pytest.raises(AsOfInvalid):
            tokens.read("user", token)


def test_the_ids_are_those_of_rows_too_young_for_their_stamps() -> None:
    """Those created since, and those of a process whose clock is somewhat behind; no more than fit."""
    limit = SETTLING_SECONDS + SKEW_SECONDS
    found = rows(0, limit - 1, limit, limit + 1)
    assert as_of.seen_by(AT, found).ids == tuple(row["_id"] for row in found[:2])
    assert len(as_of.seen_by(AT, rows(*[0] * (MOST_IDS + 1))).ids) == MOST_IDS


def test_rows_of_other_writers_do_not_spoil_it() -> None:
    """A time that Python does not have, an id of another type."""
    odd: list[dict[str, Any]] = [
        {"_id": 5, "createdAt": NOW},
        {"_id": ObjectId(), "createdAt": DatetimeMS(2**60)},
        *rows(0),
    ]
    assert as_of.seen_by(AT, odd).ids == (odd[1]["_id"], odd[2]["_id"])


def test_the_earliest_times_have_a_floor() -> None:
    """A cluster time near zero yields one that mongod does not take for empty."""
    assert AsOf(Timestamp(5, 1)).settled > as_of.UNSTAMPED
