"""Argon2id by libsodium, with the reference implementation as the judge."""

from __future__ import annotations

import argon2
import pytest
from argon2.low_level import Type, hash_secret
from hypothesis import given, settings
from hypothesis import strategies as st

from users_service.passwords import argon2id, formats, verification

PASSWORDS = st.text(max_size=128).map(str.encode)
MEMORY_KIB = st.integers(8, 300)
PASSES = st.integers(1, 4)


@settings(deadline=None)  # the first call of a library loads it
@given(PASSWORDS, MEMORY_KIB, PASSES)
def test_the_reference_verifies_what_libsodium_hashed(password: bytes, memory_kib: int, passes: int) -> None:
    """What is stored can be verified by any implementation, with the parameters that it names."""
    stored = argon2id.hash_password(password, memory_kib, passes)
    assert argon2.PasswordHasher().verify(stored, password)
    named = argon2.extract_parameters(stored)
    assert (named.type, named.version, named.memory_cost, named.time_cost) == (Type.ID, 19, memory_kib, passes)
    assert (named.parallelism, named.salt_len, named.hash_len) == (1, 16, 32)


# Mostly as they are made here.
KINDS = st.tuples(st.sampled_from([1, 1, 1, 2]), st.sampled_from([Type.ID, Type.ID, Type.ID, Type.I, Type.D]))


@settings(deadline=None)
@given(PASSWORDS, MEMORY_KIB, PASSES, st.binary(min_size=8, max_size=32), KINDS)
def test_what_the_reference_hashed_verifies(
    password: bytes, memory_kib: int, passes: int, salt: bytes, kind: tuple[int, Type]
) -> None:
    """Hashes of earlier releases, and imported ones of any kind, are right for their password alone."""
    lanes, variant = kind
    length = 16 + memory_kib % 49
    stored = hash_secret(password, salt, passes, max(memory_kib, 8 * lanes), lanes, length, variant).decode()
    assert verification.matches(stored, password)
    assert not verification.matches(stored, password + b"x")


@pytest.mark.parametrize(
    ("salt", "kind", "lanes", "expected"),
    [
        (b"s" * 16, Type.ID, 1, True),
        (b"s" * 15, Type.ID, 1, False),
        (b"s" * 16, Type.I, 1, False),
        (b"s" * 16, Type.ID, 2, False),
    ],
)
def test_libsodium_takes_what_it_knows(salt: bytes, kind: Type, lanes: int, expected: bool) -> None:
    """Hashes as they are made here go to the fast library, and what it does not know to the other."""
    stored = formats.parse(hash_secret(b"correct horse", salt, 1, 64, lanes, 32, kind).decode())
    assert isinstance(stored, formats.Argon2)
    assert argon2id.can_verify(stored) is expected


def test_a_hash_without_a_version_is_of_the_first() -> None:
    """Version 1.0 named none; such hashes verify by their own rules (the reference implementation's test vector)."""
    stored = "$argon2i$m=65536,t=2,p=1$c29tZXNhbHQ$9sTbSlTio3Biev89thdrlKKiCaYsjjYVJxGAL3swxpQ"
    assert verification.matches(stored, b"password")
    assert not verification.matches(stored, b"differentpassword")


def test_argon2id_of_the_first_version_goes_to_the_reference() -> None:
    """libsodium would derive by the rules of version 1.3, and find the right password wrong."""
    stored = hash_secret(b"correct horse", b"s" * 16, 2, 64, 1, 32, Type.ID, version=16).decode()
    assert verification.matches(stored, b"correct horse")
    assert not verification.matches(stored, b"correct horsf")
