"""Email addresses: the form in which they are compared, a mask for people, and the keyed hash by which they are found.

An address stands readable in no collection of this service (docs/decisions/0084).
"""

from __future__ import annotations

import re
from typing import Final

from chassis.keyring import Keyring

# RFC 5321, 4.5.3.1.3 as corrected: a path is 256 octets with its brackets.
MAX_LENGTH: Final = 254
_CUT: Final = "…"
# What may be an address in a text: also one in a URL, of a quoted local part, or at an address literal. It takes too
# much rather than too little.
_LOOKS_LIKE: Final = re.compile(
    r"""(?:"[^"\n]{0,64}"|[^\s<>()\[\],;:"'@]+)(?:@|%40|\uff20)(?:\[[^\]\s]*\]|[^\s<>()\[\],;:"'@]+)""", re.IGNORECASE
)
_AT: Final = re.compile(r"@|%40|\uff20", re.IGNORECASE)


def normalized(address: str) -> str:
    """Return the address as it is compared: case-folded, without spaces around it; as the users service does it."""
    return address.strip().casefold()


def masked(address: str) -> str:
    """Return the first letter and the domain's last label alone: ``a…@…com``."""
    local, domain = _AT.split(address, maxsplit=1) if _AT.search(address) else (address, "")
    ending = domain.rpartition(".")[2]
    shown = ending.rstrip(".>") if ending.strip(".").isalpha() and ending != domain else ""
    return f"{local.lstrip(chr(34))[:1]}{_CUT}@{_CUT}{shown}"


def masked_in(text: str) -> str:
    """Return a text with everything in it masked that looks like an address."""
    return _LOOKS_LIKE.sub(lambda found: masked(found[0]), text)


class AddressHashes:
    """Keyed hashes (HMAC-SHA256) of normalised addresses; a hash says nothing to who has not the key."""

    def __init__(self, keyring: Keyring) -> None:
        self._mac = keyring.mac("email-addresses")

    def of(self, address: str) -> bytes:
        """Return the hash (32 bytes) to store: under the newest key."""
        return self._mac.sign(normalized(address).encode())

    def each_of(self, address: str) -> list[bytes]:
        """Return the hashes to look for: under each key of the ring, the newest first."""
        return self._mac.tags(normalized(address).encode())
