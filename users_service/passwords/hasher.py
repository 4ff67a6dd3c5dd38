"""Makes and verifies password hashes: Argon2id for new ones, every imported format for old ones."""

from __future__ import annotations

import secrets
import unicodedata
from dataclasses import dataclass

from argon2 import PasswordHasher

from users_service.errors import PasswordHashUnsupported
from users_service.passwords import formats
from users_service.passwords.pool import HashingPool
from users_service.settings import Settings

# Characters; what the contract says of a new password.
LONGEST = 128


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found: whether the password is right, and whether its hash is out of date."""

    ok: bool
    needs_upgrade: bool


WRONG = Verdict(ok=False, needs_upgrade=False)


class Passwords:
    """Argon2id (RFC 9106, one lane) in a bounded pool of threads.

    Passwords are hashed in Unicode's NFKC form (NIST SP 800-63B, 3.1.1.2), so that one password typed on two
    systems is one password. Hashes made elsewhere may be of the form as typed: a password that normalising
    changes is tried both ways, whoever's it is.
    """

    def __init__(self, *, memory_kib: int, passes: int, threads: int = 0, queue: int = 256) -> None:
        """``memory_kib``, ``passes``: cost of one hash; ``threads``, ``queue``: see HashingPool."""
        self._hasher = PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._pool = HashingPool(threads, queue)
        # Verified where there is nothing to verify, which must take as long.
        self._dummy = self._hasher.hash(secrets.token_urlsafe())

    @classmethod
    def of(cls, settings: Settings) -> Passwords:
        """Make the hasher that the settings describe."""
        return cls(
            memory_kib=settings.argon2_memory_kib,
            passes=settings.argon2_passes,
            threads=settings.argon2_threads,
            queue=settings.argon2_queue,
        )

    @property
    def waiting(self) -> int:
        """How many passwords wait for a thread now."""
        return self._pool.waiting

    @property
    def running(self) -> int:
        """How many passwords are being hashed now."""
        return self._pool.running

    @property
    def threads(self) -> int:
        """How many passwords are hashed at once at most."""
        return self._pool.threads

    @property
    def queue(self) -> int:
        """How many passwords may wait."""
        return self._pool.queue

    def ensure_room(self) -> None:
        """Raise PasswordHashingBusy where a hash or a verification would be refused now."""
        self._pool.ensure_room()

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash to store. Raises PasswordHashingBusy."""
        return await self._pool.run(self._hasher.hash, _normalized(password))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Tell whether ``password`` is that of ``stored``; without a hash it is wrong, after the same time.

        A password longer than any can be is wrong too. Raises PasswordHashingBusy.
        """
        if stored is None or len(password) > LONGEST:
            await self._pool.run(_matches, self._dummy, password[:LONGEST])
            return WRONG
        return await self._pool.run(self._verify, stored, password)

    def check_importable(self, stored: str) -> None:
        """Raise PasswordHashUnsupported unless ``stored`` is a hash that can be verified here at a bearable cost."""
        found = formats.parse(stored)
        if found is None or not found.bearable:
            raise PasswordHashUnsupported("unknown format, or parameters beyond the limits")

    def close(self) -> None:
        """End the threads."""
        self._pool.close()

    def _verify(self, stored: str, password: str) -> Verdict:
        if not _matches(stored, password):
            return WRONG
        return Verdict(ok=True, needs_upgrade=self._is_outdated(stored, password))

    def _is_outdated(self, stored: str, password: str) -> bool:
        if not stored.startswith("$argon2id$") or self._hasher.check_needs_rehash(stored):
            return True
        # Right, but of the password as typed.
        normalized = _normalized(password)
        return normalized != password and not formats.matches(stored, normalized)


def _normalized(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _matches(stored: str, password: str) -> bool:
    normalized = _normalized(password)
    return formats.matches(stored, normalized) or (normalized != password and formats.matches(stored, password))
