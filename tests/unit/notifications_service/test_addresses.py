"""Email addresses: how they are compared, masked and found."""

from __future__ import annotations

import pytest

from chassis.keyring import KEY_BYTES, Keyring
from notifications_service import addresses
from notifications_service.addresses import AddressHashes, masked, masked_in

OLD, NEW = bytes(KEY_BYTES), bytes(range(KEY_BYTES))


@pytest.mark.parametrize("written", ["Ann@Example.COM", " ann@example.com ", "ann@example.com"])
def test_an_address_is_one_however_it_is_written(written: str) -> None:
    """The form in which the users service holds addresses unique is the one in which they are suppressed."""
    hashes = AddressHashes(Keyring({"k": NEW}))
    assert addresses.normalized(written) == "ann@example.com"
    assert hashes.of(written) == hashes.of("ann@example.com")
    assert hashes.of(written) != hashes.of("bob@example.com")


def test_a_hash_is_found_after_the_keys_have_rotated() -> None:
    """What was stored under an older key of the ring is among those looked for."""
    before, after = AddressHashes(Keyring({"old": OLD})), AddressHashes(Keyring({"new": NEW, "old": OLD}))
    assert before.of("ann@example.com") in after.each_of("ann@example.com")
    assert after.each_of("ann@example.com")[0] == after.of("ann@example.com") != before.of("ann@example.com")


@pytest.mark.parametrize(
    ("address", "mask"),
    [
        ("ann@example.com", "a…@…com"),
        ("Ann.Lee+x@mail.example.co.uk", "A…@…uk"),
        ("ann@localhost", "a…@…"),
        ("ann@[192.0.2.1]", "a…@…"),
        ('"ann lee"@example.org', "a…@…org"),
        ("ann%40example.com", "a…@…com"),
        ("ann", "a…@…"),
        ("", "…@…"),
    ],
)
def test_a_mask_shows_the_first_letter_and_the_last_label(address: str, mask: str) -> None:
    """Whoever reads attempts may recognise an address that he knows, and learns none."""
    assert masked(address) == mask


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("550 5.1.1 <ann@example.com>: user unknown", "550 5.1.1 <a…@…com>: user unknown"),
        ("mailto:Ann@Example.com bounced", "mailto:A…@…com bounced"),
        ("see https://x.example/?to=ann%40example.com now", "see https:/…@…com now"),
        ('to "ann lee"@example.org, bob@[10.0.0.1].', "to a…@…org, b…@…."),
        ("bounce+ann=example.com@relay.example", "b…@…example"),
        ("rfc822; ann\uff20example.com", "rfc822; a…@…com"),
        ("no address here, 5.1.1, @ 12:00", "no address here, 5.1.1, @ 12:00"),
    ],
)
def test_addresses_in_a_text_are_masked(text: str, shown: str) -> None:
    """What a mail provider reports quotes addresses in many forms."""
    assert "example.com" not in masked_in(text)
    assert masked_in(text) == shown
