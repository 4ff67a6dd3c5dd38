"""The list of common passwords: what is on it, what it is compared by, and what it takes."""

from __future__ import annotations

import gc
import gzip
import tracemalloc
import unicodedata
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

import users_service.passwords
from users_service.passwords import common
from users_service.passwords.common import CommonPasswords, common_passwords, folded

LISTED = gzip.decompress(files(users_service.passwords).joinpath(common.FILE).read_bytes()).decode().splitlines()
COMMON = common_passwords()
# By the contract, no password is shorter or longer.
SHORTEST, LONGEST = 8, 128
# What OWASP asks for at least, of those that the rules of a password allow (ASVS 5.0, 6.2.4).
AT_LEAST = 3_000
# Bytes that each process may spend on it.
MEMORY = 512 * 1024


def test_the_list_is_of_passwords_that_could_be_chosen() -> None:
    """Nothing is carried about that the length refuses, or that no password can be equal to."""
    assert len(set(LISTED)) == len(LISTED) >= AT_LEAST
    assert sorted(LISTED, key=lambda each: (len(each), each)) == LISTED
    assert [each for each in LISTED if not SHORTEST <= len(each) <= LONGEST or folded(each) != each] == []


def test_every_one_that_is_listed_is_found() -> None:
    """The first and the last of each length, too."""
    assert [each for each in LISTED if each not in COMMON] == []
    assert len(COMMON) == len(LISTED)


def full_width(text: str) -> str:
    """Return ASCII in the forms that have the width of Chinese characters."""
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


@pytest.mark.parametrize(
    "password",
    ["password1", "PASSWORD1", "PassWord1", full_width("passWord1"), "passwor\u24b9\u2460", "qwertyuiop", "1q2w3e4r5t"],
)
def test_what_is_guessed_first_is_on_it(password: str) -> None:
    """In any case, and in any letters that stand for the same ones."""
    assert password in COMMON


@pytest.mark.parametrize(
    "password",
    ["correct horse battery", "password1 and more", "my password1", "password1 ", "pässword1", "passwort-eins-zwei"],
)
def test_a_part_of_one_and_a_neighbour_of_one_is_not(password: str) -> None:
    """Only a whole password is compared; a space is a character as any other."""
    assert password not in COMMON


@given(
    st.text(max_size=LONGEST) | st.sampled_from(LISTED).flatmap(lambda each: st.sampled_from([each, each[1:] + "x"]))
)
def test_it_answers_as_a_set_does(password: str) -> None:
    """Bisection misses nothing and makes nothing up."""
    assert (password in COMMON) == (folded(password) in frozenset(LISTED))


@given(st.lists(st.text(min_size=1, max_size=3), max_size=30, unique=True), st.text(max_size=3))
def test_any_list_is_looked_up_as_a_set(passwords: list[str], password: str) -> None:
    """Whatever its characters and lengths are, an empty one included."""
    stored = sorted({folded(each) for each in passwords} - {""}, key=lambda each: (len(each), each))
    found = CommonPasswords(stored)
    assert (password in found) == (folded(password) in stored)
    assert all(each in found for each in passwords if folded(each))


@given(st.text(max_size=LONGEST))
def test_folding_is_stable_and_blind_to_case_and_spelling(password: str) -> None:
    """What is folded folds to itself, and all forms that Unicode takes for the same come to one."""
    assert folded(folded(password)) == folded(password)
    forms = [unicodedata.normalize(form, password) for form in ("NFC", "NFD", "NFKC", "NFKD")]
    assert {folded(form) for form in forms} == {folded(password)}


@given(st.data(), st.sampled_from(LISTED))
def test_no_spelling_gets_past_it(data: st.DataObject, listed: str) -> None:
    """Capitals and full-width characters, at any place, change nothing."""
    spelled = "".join(data.draw(st.sampled_from([each, each.upper(), full_width(each)])) for each in listed)
    assert spelled in COMMON


def test_it_takes_little_memory() -> None:
    """Every process of every replica has it for as long as it runs."""
    tracemalloc.start()
    try:
        kept = common_passwords()
        gc.collect()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(kept) == len(LISTED)
    assert held < MEMORY
