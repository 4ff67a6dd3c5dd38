"""Formats of stored hashes, against hashes that other programs made."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from users_service.passwords import formats
from users_service.passwords.verification import is_hash_of, matches

# Each of the password after it, made by: the reference implementation of Argon2 (its README), OpenBSD's and PHP's
# bcrypt, passlib's documentation of scrypt.
KNOWN = [
    (
        "$argon2i$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
        "password",
    ),
    ("$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "U*U"),
    ("$2y$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK", "U*U*"),
    (
        "$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        "password",
    ),
]


@pytest.mark.parametrize(("stored", "password"), KNOWN)
def test_hashes_of_other_programs_verify(stored: str, password: str) -> None:
    """A hash made elsewhere is right for its password and for no other, and may be imported."""
    found = formats.parse(stored)
    assert found is not None
    assert found.bearable()
    assert is_hash_of(found, password.encode())
    assert not is_hash_of(found, password.encode() + b"x")


def test_better_auth_uses_the_text_of_its_salt() -> None:
    """Better Auth derives from the salt's hexadecimal text: 64 bytes with N=16384, r=16, p=1."""
    salt = "0123456789abcdef0123456789abcdef"
    key = hashlib.scrypt(b"correct horse", salt=salt.encode(), n=16_384, r=16, p=1, dklen=64, maxmem=1 << 26)
    found = formats.parse(f"{salt}:{key.hex()}")
    assert found is not None
    assert found.bearable()
    assert is_hash_of(found, b"correct horse")
    assert not is_hash_of(found, b"correct horsf")


def test_bcrypt_reads_72_bytes() -> None:
    """A password longer than bcrypt reads verifies by its first 72 bytes, as where it was hashed, and does not fail."""
    found = formats.parse("$2y$05$/OK.fbVrR/bpIqNJ5ianF.swQOIzjOiJ9GHEPuhEkvqrUyvWhEMx6")
    assert found is not None
    assert is_hash_of(found, ("\u00aa" * 72 + "any tail").encode()) == is_hash_of(found, ("\u00aa" * 72).encode())


CHEAP = [
    "$argon2i$v=19$m=64,t=1,p=2$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "$2a$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "$scrypt$ln=4,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
]

BEYOND = {
    "argon2: memory": "$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "argon2: passes": "$argon2id$v=19$m=65536,t=17,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "argon2: lanes": "$argon2id$v=19$m=65536,t=1,p=17$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "argon2: too little memory": "$argon2id$v=19$m=7,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "bcrypt: rounds": "$2b$15$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "bcrypt: too few rounds": "$2b$03$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "scrypt: memory": "$scrypt$ln=21,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
    "scrypt: lanes": "$scrypt$ln=16,r=8,p=9$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
    "scrypt: N beyond what RFC 7914 allows for r=1": (
        "$scrypt$ln=16,r=1,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
    ),
    "scrypt: no cost": "$scrypt$ln=0,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
}


@pytest.mark.parametrize("stored", BEYOND.values(), ids=BEYOND)
def test_costs_beyond_the_limits_are_told(stored: str) -> None:
    """Nobody imports a hash that makes each sign-in cost seconds or gigabytes, or one that cannot be computed."""
    found = formats.parse(stored)
    assert found is not None
    assert not found.bearable()


UNKNOWN = [
    "",
    "plaintext-password-of-somebody",
    "5f4dcc3b5aa765d61d8327deb882cf99",
    "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
    "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    # The last two bits of a bcrypt salt are unused and zero.
    "$2a$05$CCCCCCCCCCCCCCCCCCCCCCE5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    # So are the last two bits of a bcrypt hash.
    "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeX",
    # Digits that are none to the libraries, and leading zeros.
    "$2a$0\u0665$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "$argon2id$v=19$m=6553\u0666,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "$scrypt$ln=1\u0666,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
    "$scrypt$ln=016,r=8,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
    "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ",
    "$argon2id$v=18$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHR$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "$argon2id$v=19$m=65536,t=2,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG\n",
]


@pytest.mark.parametrize("stored", UNKNOWN)
def test_other_text_is_no_hash(stored: str) -> None:
    """What is in no known format matches nothing, least of all itself."""
    assert formats.parse(stored) is None
    assert not matches(stored, stored.encode())


@given(st.text(max_size=200) | st.from_regex(r"\$(argon2id|2b|scrypt)\$[a-z0-9=,$./+]{0,120}", fullmatch=True))
def test_any_text_is_read_without_failing(stored: str) -> None:
    """Whatever a caller sends as a hash is recognised or not, and raises nothing."""
    found = formats.parse(stored)
    assert found is None or isinstance(found.bearable(), bool)


ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def test_of_all_last_characters_of_a_bcrypt_hash_one_in_four_is_a_hash() -> None:
    """bcrypt writes 23 bytes as 31 characters; a text whose last two bits are not zero is of no password."""
    whole = "$2b$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOe"
    assert {last for last in ALPHABET if formats.parse(whole + last)} == set(ALPHABET[::4])


def base64_of(sizes: st.SearchStrategy[int]) -> st.SearchStrategy[str]:
    """Draw bytes of such a size, in base64 without padding."""
    return sizes.flatmap(lambda size: st.binary(min_size=size, max_size=size)).map(
        lambda drawn: base64.b64encode(drawn).decode().rstrip("=")
    )


# Hashes of every form, and of what is nearly one; cheap, so that hundreds are verified.
ARGON2 = st.builds(
    "$argon2{}${}m={},t={},p={}${}${}".format,
    st.sampled_from(["id", "i", "d"]),
    st.sampled_from(["v=19$", "v=16$", ""]),
    st.integers(1, 130),
    st.integers(1, 3),
    st.integers(1, 16),
    base64_of(st.integers(7, 64)),
    base64_of(st.integers(15, 64)),
)
SCRYPT = st.builds(
    "$scrypt$ln={},r={},p={}${}${}".format,
    st.integers(0, 10) | st.integers(16, 20),
    st.just(1),
    st.integers(1, 3),
    base64_of(st.integers(0, 64)),
    base64_of(st.integers(15, 64)),
)
BCRYPT = st.builds(
    "$2{}${:02}${}".format,
    st.sampled_from("abxy"),
    st.integers(3, 5),
    st.text(ALPHABET, min_size=53, max_size=53),
)


@settings(deadline=None)
@given(ARGON2 | SCRYPT | BCRYPT)
def test_whatever_is_borne_is_verified_without_failing(stored: str) -> None:
    """Nothing that an import lets pass makes the library of its format fail when somebody signs in."""
    found = formats.parse(stored)
    if found is not None and found.bearable():
        assert not is_hash_of(found, b"correct horse")


@settings(deadline=None, max_examples=30)
@given(st.binary(min_size=1, max_size=512))
def test_any_password_is_compared(password: bytes) -> None:
    """No bytes of a password, a NUL included, make a library fail."""
    for stored in CHEAP:
        assert not matches(stored, password)
