"""Networks of clients."""

from __future__ import annotations

import pytest

from users_service.sessions.familiarity import network_of


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.0/24"),
        ("::ffff:203.0.113.7", "203.0.113.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("", ""),
        ("not an address", "not an address"),
    ],
)
def test_a_network_is_what_one_customer_has(address: str, network: str) -> None:
    """/24 of IPv4, however it is written, /48 of IPv6; whatever else callers pass is compared as it is."""
    assert network_of(address) == network
