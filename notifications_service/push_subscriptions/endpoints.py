"""Endpoints of push services: which URLs and which addresses this system calls.

Whoever may register a subscription chooses where this system sends a request, so an endpoint must not lead into the
network that it runs in. The URL is judged here in its one plain spelling, and each address that its name stands for is
judged when a connection is made (``delivery.channels.public_connector``), since a name may stand for another then.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

MOST_CHARACTERS: Final = 2_048
HTTPS_PORT: Final = 443
LOCALHOST: Final = "localhost"

# Host, port and the rest. No user, no fragment, no backslash, no blank: readers of URLs differ about those.
_URL: Final = re.compile(
    r"https://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][!-~]*)?"
)
_NO_PART_OF_A_URL: Final = frozenset('"#<>\\^`{|}')
_LABEL: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
# The last label of what browsers and resolvers read as an IPv4 address, in whatever base.
_NUMBER: Final = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_MOST_NAME: Final = 253

# What the registries of IANA (RFC 6890) do not call globally reachable, and the relays of 6to4.
_NOT_PUBLIC_4: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.88.99.0/24",
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
# Only what is handed out as global unicast is public. So all that carries an IPv4 address in disguise is refused:
# mapped (::ffff:0:0/96) and translated ones (64:ff9b::/96) are outside of it, Teredo and 6to4 are named here.
_GLOBAL_6: Final = IPv6Network("2000::/3")
_NOT_PUBLIC_6: Final = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


class EndpointRefused(ValueError):
    """This system does not call the URL; the text says which rule it breaks, and not the URL."""


@dataclass(frozen=True, slots=True)
class PushEndpoint:
    """An endpoint that may be called, as far as its text tells."""

    url: str = field(repr=False)
    host: str = field(repr=False)
    port: int

    @property
    def origin(self) -> str:
        """The origin (RFC 6454), which VAPID signs as the audience."""
        return f"https://{self.host}" + ("" if self.port == HTTPS_PORT else f":{self.port}")


@dataclass(frozen=True, slots=True)
class EndpointRules:
    """The rules. ``allow_loopback``: this machine itself may be called, on any port; for tests."""

    allow_loopback: bool = False

    def parse(self, url: str) -> PushEndpoint:
        """Return the parts of an endpoint. Raises EndpointRefused."""
        found = _URL.fullmatch(url)
        if found is None or len(url) > MOST_CHARACTERS or not _NO_PART_OF_A_URL.isdisjoint(url):
            raise EndpointRefused("must be an https URL of a host and a path, without user and fragment")
        host = found["host"].lower()
        port = HTTPS_PORT if found["port"] is None else int(found["port"])
        is_local = self._check_host(host)
        if port != HTTPS_PORT and not is_local:
            raise EndpointRefused(f"must be at port {HTTPS_PORT}")
        if not 0 < port < 65_536:
            raise EndpointRefused("must be at a port")
        return PushEndpoint(url, host, port)

    def allows(self, address: str) -> bool:
        """Say whether a connection to an address may be made; ``address``: as the resolver tells it."""
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return is_public(ip) or (self.allow_loopback and ip.is_loopback)

    def _check_host(self, host: str) -> bool:
        """Raise EndpointRefused for a host that is never called; say whether it is this machine."""
        if self.allow_loopback and host == LOCALHOST:
            return True
        if host.startswith("[") or _NUMBER.fullmatch(host.rpartition(".")[2]):
            return self._check_literal(host)
        labels = host.split(".")
        if len(labels) < 2 or len(host) > _MOST_NAME or not all(map(_LABEL.fullmatch, labels)):
            raise EndpointRefused("must be at a host name of two labels or more, without a trailing dot")
        return False

    def _check_literal(self, host: str) -> bool:
        # Only IPv6 stands in brackets. Python reads dotted decimals without leading zeros alone, and no other spelling.
        literal = host[1:-1] if ":" in host else host
        if not self.allows(literal):
            raise EndpointRefused("must be at a public address")
        return ip_address(literal).is_loopback


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Say whether an address is one that the whole internet reaches, and none that stands for another."""
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_4)
    return ip.scope_id is None and ip in _GLOBAL_6 and not any(ip in network for network in _NOT_PUBLIC_6)
