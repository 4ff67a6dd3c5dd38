"""The check of stored hashes before they are adopted: can this machine verify each of them?"""

from __future__ import annotations

from users_service.passwords import formats
from users_service.passwords.formats import Hash
from users_service.passwords.hasher import STORED_TIMES
from users_service.passwords.verification import is_hash_of

_LENGTH = 255


class Verifiable:
    """Remembers of which kinds a hash was verified: the first of a kind is tried."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[object, ...], bool] = {}

    def problem(self, stored: str) -> str:
        """Return why a hash cannot be adopted; empty where it can."""
        found = formats.parse(stored)
        if found is None or len(stored) > _LENGTH:
            return "no password hash of a form that is verified here"
        if not found.bearable(STORED_TIMES):
            return "a password hash whose cost is beyond the limits"
        if found.kind not in self._kinds:
            self._kinds[found.kind] = _is_verified(found)
        return "" if self._kinds[found.kind] else "a password hash that this machine cannot verify"


def _is_verified(found: Hash) -> bool:
    try:
        is_hash_of(found, b"no password")
    except Exception:  # noqa: BLE001 - libraries fail in ways of their own, and each means the same
        return False
    return True
