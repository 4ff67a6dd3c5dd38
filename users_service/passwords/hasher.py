"""The password hasher: makes Argon2id hashes, and verifies those and every imported format."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass

from users_service.errors import PasswordHashUnsupported
from users_service.passwords import formats, frames
from users_service.passwords.cores import processes_for
from users_service.passwords.pool import HashingPool
from users_service.passwords.settings import PasswordSettings

# Characters of a new password, by the contract.
LONGEST = 128
# Slowest hashing that is tolerated, for busy machines: KiB written per second, and seconds added to that.
SLOWEST_KIB = 100_000
SPARE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a verification: whether the password is right, and whether its hash is out of date."""

    ok: bool
    needs_upgrade: bool


WRONG = Verdict(ok=False, needs_upgrade=False)


class Passwords:
    """Argon2id (RFC 9106, one lane) in a bounded pool of processes.

    Passwords are normalised to Unicode's NFKC before they are hashed (NIST SP 800-63B, 3.1.1.2), so that a password
    typed on two systems is the same. Other systems may have hashed a password as it was typed, so one that normalising
    changes is tried in both forms, for every user.
    """

    def __init__(self, *, memory_kib: int, passes: int, processes: int = 0, queue: int = 256) -> None:
        """``memory_kib``, ``passes``: cost of a hash; ``processes``, ``queue``: at most; 0: by the cores."""
        self._cost = (b"%d" % memory_kib, b"%d" % passes)
        patience = SPARE_SECONDS + memory_kib * passes / SLOWEST_KIB
        self._pool = HashingPool(processes_for(processes), queue, patience)
        self._current = re.compile(rf"\$argon2id\$v=19\$m={memory_kib},t={passes},p=1\$[^$]{{22}}\$[^$]{{43}}")
        # Verified in place of a hash that does not exist, so that the answer takes as long. No password matches it.
        self._dummy = formats.encode_argon2id(memory_kib, passes, secrets.token_bytes(16), secrets.token_bytes(32))

    @classmethod
    def of(cls, settings: PasswordSettings) -> Passwords:
        """Make the hasher that the settings describe."""
        return cls(
            memory_kib=settings.argon2_memory_kib,
            passes=settings.argon2_passes,
            processes=settings.argon2_threads,
            queue=settings.argon2_queue,
        )

    @property
    def waiting(self) -> int:
        """How many passwords wait for a process now."""
        return self._pool.waiting

    @property
    def running(self) -> int:
        """How many passwords are being hashed now."""
        return self._pool.running

    @property
    def limit(self) -> int:
        """How many passwords are hashed at once at most."""
        return self._pool.limit

    @property
    def queue(self) -> int:
        """How many passwords may wait."""
        return self._pool.queue

    @property
    def pids(self) -> list[int]:
        """The processes that hash."""
        return self._pool.pids

    def ensure_room(self) -> None:
        """Raise PasswordHashingBusy where a hash or a verification would be refused now."""
        self._pool.ensure_room()

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash to store. Raises PasswordHashingBusy, PasswordHashingUnavailable."""
        return (await self._pool.run(frames.HASH, *self._cost, _normalized(password).encode())).decode()

    async def verify(self, stored: str | None, password: str) -> Verdict:
        """Say whether ``stored`` is a hash of ``password``; without a hash the answer is no, after the same time.

        A password that is longer than allowed is wrong, too. Raises PasswordHashingBusy, PasswordHashingUnavailable.
        """
        if stored is None or len(password) > LONGEST:
            await self._first_match(self._dummy, _forms(password[:LONGEST]))
            return WRONG
        found = await self._first_match(stored, _forms(password))
        if found is None:
            return WRONG
        # If not the first form matched, the hash is of the password as typed.
        return Verdict(ok=True, needs_upgrade=found > 0 or not self._current.fullmatch(stored))

    def check_importable(self, stored: str) -> None:
        """Raise PasswordHashUnsupported unless ``stored`` is a hash that can be verified here at a bearable cost."""
        found = formats.parse(stored)
        if found is None or not found.bearable:
            raise PasswordHashUnsupported

    def close(self) -> None:
        """End the processes."""
        self._pool.close()

    async def _first_match(self, stored: str, forms: list[str]) -> int | None:
        found = await self._pool.run(frames.VERIFY, stored.encode(), *(form.encode() for form in forms))
        return int(found) if found else None


def _normalized(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _forms(password: str) -> list[str]:
    """Return the password normalised, and as typed where that differs."""
    return list(dict.fromkeys((_normalized(password), password)))
