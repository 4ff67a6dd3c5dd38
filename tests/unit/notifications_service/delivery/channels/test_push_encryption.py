"""Encryption of push messages: the example of RFC 8291, and what an independent browser reads."""

from __future__ import annotations

import os

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec

from notifications_service.delivery.channels.push_encryption import BODY_BYTES, MOST_PLAINTEXT, encrypt, sealed
from tests.harness.push_service import Browser, unbase64url

# RFC 8291, section 5 and appendix A.
PLAINTEXT = b"When I grow up, I want to be a watermelon"
SERVER = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw"
BROWSER = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94"
AUTH = "BTBZMqHH6r4Tts7J_aSIgg"
SALT = "DGv6ra1nlYgDCS1FRnbzlw"
BODY = (
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7"
    "A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
)


def _key(text: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(unbase64url(text)), ec.SECP256R1())


def _browser() -> Browser:
    return Browser("https://push.example.net/1", private=_key(BROWSER), auth=unbase64url(AUTH))


def test_the_example_of_the_standard_comes_out_byte_for_byte() -> None:
    """With its keys and its salt the message is the one that RFC 8291 prints."""
    browser = _browser()
    body = sealed(PLAINTEXT, browser.p256dh, browser.auth, _key(SERVER), unbase64url(SALT))
    assert body == unbase64url(BODY)
    assert browser.decrypted(body) == PLAINTEXT


@pytest.mark.parametrize("size", [0, 1, MOST_PLAINTEXT])
def test_a_browser_reads_what_was_encrypted_for_it(size: int) -> None:
    """Every message has a key and a salt of its own; the longest fills what push services must take."""
    browser, plaintext = _browser(), os.urandom(size)
    bodies = [encrypt(plaintext, browser.p256dh, browser.auth) for _ in range(2)]
    assert [browser.decrypted(body) for body in bodies] == [plaintext] * 2
    assert bodies[0][:86] != bodies[1][:86]
    assert max(map(len, bodies)) <= BODY_BYTES
    assert (len(bodies[0]) == BODY_BYTES) == (size == MOST_PLAINTEXT)


def test_nobody_else_reads_it() -> None:
    """Neither another browser nor the push service, which does not know the secret, opens a message."""
    browser = _browser()
    body = encrypt(PLAINTEXT, browser.p256dh, browser.auth)
    with pytest.raises(InvalidTag):
        Browser("", private=browser.private, auth=bytes(16)).decrypted(body)


def test_a_key_that_is_no_point_is_refused() -> None:
    """Bytes off the curve would give away the key of the message."""
    with pytest.raises(ValueError, match="Invalid EC key"):
        encrypt(PLAINTEXT, b"\x04" + bytes(64), bytes(16))
