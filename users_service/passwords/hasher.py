"""The password hasher: makes Argon2id hashes, and verifies those and every imported format."""

from __future__ import annotations

import re
import secrets
import unicodedata
from dataclasses import dataclass
from typing import Final

from chassis.logs import logging
from users_service.errors import PasswordCompromised, PasswordHashUnsupported
from users_service.passwords import formats, frames
from users_service.passwords.common import CommonPasswords
from users_service.passwords.cores import processes_for
from users_service.passwords.formats import Hash
from users_service.passwords.memory import PROCESS_BYTES, hashing_memory
from users_service.passwords.pool import HashingFailed, HashingPool
from users_service.passwords.settings import PasswordSettings

# Characters of a new password, by the contract.
LONGEST = 128
# Slowest hashing that is tolerated, for busy machines: KiB written per second, and seconds added to that.
SLOWEST_KIB = 100_000
SPARE_SECONDS = 10.0
# A hash that is stored already, as in a database that was taken over, may cost so many times what an import may.
STORED_TIMES: Final = 4
# Kinds of hashes that are remembered as verifiable on this machine.
KINDS_KNOWN: Final = 1_000

log = logging.get("users_service.passwords")


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

    def __init__(
        self,
        *,
        memory_kib: int,
        passes: int,
        processes: int = 0,
        queue: int = 256,
        memory_mib: int = 0,
        common: CommonPasswords | None = None,
    ) -> None:
        """``memory_kib``, ``passes``: cost of a hash; ``processes``, ``queue``: at most; 0: by cores and memory.

        ``memory_mib``: what all hashes at once may take; 0: by what there is. ``common``: what nobody may choose.
        """
        self._common = common
        self._cost = (b"%d" % memory_kib, b"%d" % passes)
        self._own = memory_kib * 1024
        needed = self._own + PROCESS_BYTES
        # A hash of our own is always borne.
        self._memory = max(hashing_memory(memory_mib), needed * max(1, processes))
        # Both forms of a password may be compared.
        self._patience = _patience(2 * memory_kib * passes)
        number = processes_for(processes, room=self._memory // needed)
        self._pool = HashingPool(number, queue, memory=self._memory)
        self._current = re.compile(rf"\$argon2id\$v=19\$m={memory_kib},t={passes},p=1\$[^$]{{22}}\$[^$]{{43}}")
        # Verified in place of a hash that does not exist, so that the answer takes as long. No password matches it.
        self._dummy = formats.encode_argon2id(memory_kib, passes, secrets.token_bytes(16), secrets.token_bytes(32))
        self._verifiable: set[tuple[object, ...]] = set()
        # How many stored hashes could not be verified when somebody came with a password.
        self.unverifiable = 0

    @classmethod
    def of(cls, settings: PasswordSettings, common: CommonPasswords | None = None) -> Passwords:
        """Make the hasher that the settings describe; ``common``: what nobody may choose."""
        return cls(
            memory_kib=settings.argon2_memory_kib,
            passes=settings.argon2_passes,
            processes=settings.argon2_threads,
            queue=settings.argon2_queue,
            memory_mib=settings.password_hashing_memory_mib,
            common=common,
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
    def memory_limit(self) -> int:
        """How many bytes the processes take together at most."""
        return self._memory

    @property
    def pids(self) -> list[int]:
        """The processes that hash."""
        return self._pool.pids

    def ensure_room(self) -> None:
        """Raise PasswordHashingBusy where a hash or a verification would be refused now."""
        self._pool.ensure_room()

    def check_choice(self, password: str, field: str) -> None:
        """Raise PasswordCompromised, which names the request's field, for a new password that is a common one.

        Some microseconds. To be called for every password that somebody chooses, before anything is done for it.
        """
        if self._common is not None and password in self._common:
            raise PasswordCompromised(field)

    async def hash(self, password: str) -> str:
        """Return the Argon2id hash to store. Raises PasswordHashingBusy, PasswordHashingUnavailable."""
        request = (frames.HASH, *self._cost, _normalized(password).encode())
        return (await self._pool.run(*request, memory=self._own, patience=self._patience)).decode()

    async def verify(self, stored: str | None, password: str, owner: str = "") -> Verdict:
        """Say whether ``stored`` is a hash of ``password``; without a hash the answer is no, after the same time.

        So it is for a password that is longer than allowed, and for a stored hash that cannot be verified, which the
        log names by its ``owner``. Raises PasswordHashingBusy, PasswordHashingUnavailable.
        """
        forms = _forms(password[:LONGEST])
        if stored is not None and len(password) <= LONGEST:
            found = await self._match(stored, forms, owner)
            # If not the first form matched, the hash is of the password as typed.
            outdated = found is not None and (found > 0 or not self._current.fullmatch(stored))
            return WRONG if found is None else Verdict(ok=True, needs_upgrade=outdated)
        await self._compare_with_dummy(forms)
        return WRONG

    async def _match(self, stored: str, forms: list[str], owner: str) -> int | None:
        """Return which of the forms a stored hash is of; None: of none."""
        found = formats.parse(stored)
        problem = "unknown format" if found is None else "beyond the limits"
        if found is not None and found.bearable(STORED_TIMES) and self._bears(found):
            try:
                return await self._first_match(stored, forms, found)
            except HashingFailed as error:
                if self._current.fullmatch(stored):
                    raise
                problem = str(error)
        await self._unverifiable(forms, owner, problem)
        return None

    async def _unverifiable(self, forms: list[str], owner: str, problem: str) -> None:
        self.unverifiable += 1
        log.error("stored password hash cannot be verified", user_id=owner, problem=problem)
        await self._compare_with_dummy(forms)

    async def _compare_with_dummy(self, forms: list[str]) -> None:
        request = (frames.VERIFY, self._dummy.encode(), *(form.encode() for form in forms))
        await self._pool.run(*request, memory=self._own, patience=self._patience)

    async def check_importable(self, stored: str) -> None:
        """Raise PasswordHashUnsupported unless ``stored`` is a hash that can be verified here at a bearable cost.

        The first one of a kind is verified, so this takes as long as a sign-in with it. Raises PasswordHashingBusy,
        PasswordHashingUnavailable.
        """
        found = formats.parse(stored)
        if found is None or not (found.bearable() and self._bears(found)):
            raise PasswordHashUnsupported
        if found.kind in self._verifiable:
            return
        try:
            await self._first_match(stored, ["no password"], found)
        except HashingFailed:
            raise PasswordHashUnsupported from None
        if len(self._verifiable) < KINDS_KNOWN:
            self._verifiable.add(found.kind)

    def _bears(self, found: Hash) -> bool:
        """Whether the memory that there is bears this hash, alone."""
        return found.memory + PROCESS_BYTES <= self._memory

    def close(self) -> None:
        """End the processes."""
        self._pool.close()

    async def _first_match(self, stored: str, forms: list[str], hash_: Hash) -> int | None:
        request = (frames.VERIFY, stored.encode(), *(form.encode() for form in forms))
        patience = _patience(len(forms) * hash_.work_kib)
        found = await self._pool.run(*request, memory=hash_.memory, patience=patience)
        return int(found) if found else None


def _patience(work_kib: int) -> float:
    return SPARE_SECONDS + work_kib / SLOWEST_KIB


def _normalized(password: str) -> str:
    return unicodedata.normalize("NFKC", password)


def _forms(password: str) -> list[str]:
    """Return the password normalised, and as typed where that differs."""
    return list(dict.fromkeys((_normalized(password), password)))
