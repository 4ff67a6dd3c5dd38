"""What is stored of a secret: bound to all that its row is found by."""

from __future__ import annotations

import base64
from itertools import product

from chassis.keyring import Keyring
from users_service.verifications.model import Purpose, SecretKind
from users_service.verifications.secrets import SecretHasher

KEYS = [f"{name}:{base64.b64encode(name.encode() * 32).decode()}" for name in "ab"]
CODE = SecretKind.CODE


def hasher(*keys: str) -> SecretHasher:
    """Make a hasher, the newest key first."""
    return SecretHasher(Keyring.parse(",".join(keys)))


def test_equal_codes_of_any_two_rows_are_stored_differently() -> None:
    """Address and hash are unique together: one row's equal code must not take the place of another's."""
    rows = list(product(Purpose, ["a@b.cc", "b@b.cc"], SecretKind, ["", "user_1", "user_2"]))
    hashes = {
        hasher(KEYS[0]).hash(purpose, email, kind, "123456", user_id=user_id) for purpose, email, kind, user_id in rows
    }
    assert len(hashes) == len(rows)


def test_where_one_part_ends_and_the_next_begins_matters() -> None:
    """Characters moved from the secret to the user, or to the address, make another hash."""
    parts = [("a@b.cc", "12", "3"), ("a@b.cc", "1", "23"), ("a@b.cc1", "2", "3"), ("a@b.cc", "123", "")]
    hashes = {hasher(KEYS[0]).hash(Purpose.EMAIL_CHANGE, email, CODE, secret, user) for email, secret, user in parts}
    assert len(hashes) == len(parts)


def test_a_hash_under_any_key_of_the_ring_is_a_candidate() -> None:
    """The newest key hashes; what an older one made stays good."""
    old = hasher(KEYS[1]).hash(Purpose.SIGN_IN, "a@b.cc", CODE, "123456")
    both = hasher(*KEYS)
    candidates = both.candidates(Purpose.SIGN_IN, "a@b.cc", CODE, "123456")
    assert candidates == [both.hash(Purpose.SIGN_IN, "a@b.cc", CODE, "123456"), old]
