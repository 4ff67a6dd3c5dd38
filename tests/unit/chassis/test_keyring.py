"""Keys: round trip, rotation, separation of purposes, and what is refused."""

from __future__ import annotations

import base64
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring

OLD, NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


def test_a_rotated_ring_opens_what_the_old_key_sealed() -> None:
    """Keys rotate without downtime: the first seals, all open, and old data is known as such."""
    sealed = Keyring.parse(f"k1:{OLD}").cipher("tokens").encrypt(b"secret", b"row 1")
    rotated = Keyring.parse(f"k2:{NEW}, k1:{OLD}").cipher("tokens")
    assert rotated.decrypt(sealed, b"row 1") == b"secret"
    assert not rotated.is_current(sealed)
    assert rotated.is_current(rotated.encrypt(b"secret"))


def test_a_key_that_was_taken_off_is_named() -> None:
    """The operator learns which key is missing."""
    sealed = Keyring.parse(f"k1:{OLD}").cipher("tokens").encrypt(b"secret")
    with pytest.raises(KeyMissing, match="k1"):
        Keyring.parse(f"k2:{NEW}").cipher("tokens").decrypt(sealed)


def test_purposes_and_associated_data_keep_ciphertexts_apart() -> None:
    """A value moved to another row or another use does not open."""
    ring = Keyring.parse(f"k1:{OLD}")
    sealed = ring.cipher("tokens").encrypt(b"secret", b"row 1")
    for purpose, associated in (("tokens", b"row 2"), ("page-tokens", b"row 1")):
        with pytest.raises(CiphertextInvalid):
            ring.cipher(purpose).decrypt(sealed, associated)


@given(st.data())
def test_no_changed_ciphertext_opens(data: st.DataObject) -> None:
    """Every bit is authenticated, the key's name included."""
    cipher = Keyring.parse(f"k1:{OLD}").cipher("tokens")
    sealed = bytearray(cipher.encrypt(b"secret"))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises((CiphertextInvalid, KeyMissing)):
        cipher.decrypt(bytes(sealed))


@given(st.binary(max_size=64))
def test_no_random_bytes_open(garbage: bytes) -> None:
    """Garbage is refused with the same error, whatever its length."""
    with pytest.raises((CiphertextInvalid, KeyMissing)):
        Keyring.parse(f"k1:{OLD}").cipher("tokens").decrypt(garbage)


def test_a_keyed_hash_holds_through_rotation() -> None:
    """A stored hash stays good while its key is on the ring, and only then."""
    tag = Keyring.parse(f"k1:{OLD}").mac("codes").sign(b"123456")
    assert Keyring.parse(f"k2:{NEW},k1:{OLD}").mac("codes").verify(b"123456", tag)
    assert not Keyring.parse(f"k2:{NEW}").mac("codes").verify(b"123456", tag)
    assert not Keyring.parse(f"k1:{OLD}").mac("other").verify(b"123456", tag)


@pytest.mark.parametrize(
    "text", ["", "k1", "k1:abc", f":{OLD}", f"k 1:{OLD}", f"k1:{OLD},k1:{NEW}", f"k1:{OLD}:x", "k1:" + "A" * 44]
)
def test_a_wrong_setting_is_refused_without_repeating_it(text: str) -> None:
    """The message says which key is wrong and never shows one."""
    with pytest.raises(ValueError, match=r"^(key \d|at least one)") as caught:
        Keyring.parse(text)
    assert OLD not in str(caught.value)


def test_keys_do_not_show_in_a_repr() -> None:
    """A ring that lands in a log or a traceback says nothing."""
    key = os.urandom(32)
    ring = Keyring.parse(f"k1:{base64.b64encode(key).decode()}")
    for thing in (ring, ring.cipher("a"), ring.mac("a")):
        assert repr(key)[2:10] not in repr(thing)
        assert "k1" not in repr(thing)
