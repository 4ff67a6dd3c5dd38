"""Making and verifying hashes: what is right, what is outdated, and that nothing blocks the event loop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import unicodedata
from collections.abc import AsyncIterator
from typing import Any

import argon2
import bcrypt
import pytest

from users_service.errors import PasswordHashingUnavailable, PasswordHashUnsupported
from users_service.passwords import formats
from users_service.passwords.hasher import LONGEST, Passwords, Verdict
from users_service.passwords.memory import PROCESS_BYTES

RIGHT = Verdict(ok=True, needs_upgrade=False)
OUTDATED = Verdict(ok=True, needs_upgrade=True)
WRONG = Verdict(ok=False, needs_upgrade=False)


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    """A hasher of the lowest cost that the settings allow."""
    hasher = Passwords(memory_kib=19_456, passes=2, processes=2)
    yield hasher
    hasher.close()


async def test_hash_is_argon2id_of_the_configured_cost(passwords: Passwords) -> None:
    """A new hash has the parameters of the settings and its own salt, and verifies."""
    first, second = await asyncio.gather(passwords.hash("correct horse"), passwords.hash("correct horse"))
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert await passwords.verify(first, "correct horse") == RIGHT
    assert await passwords.verify(first, "correct horsf") == WRONG


@pytest.mark.parametrize(
    "stored",
    [
        argon2.PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash("correct horse"),
        argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1, type=argon2.Type.I).hash("correct horse"),
        bcrypt.hashpw(b"correct horse", bcrypt.gensalt(4)).decode(),
    ],
    ids=["weaker argon2id", "argon2i", "bcrypt"],
)
async def test_other_hashes_are_outdated(passwords: Passwords, stored: str) -> None:
    """A hash of older parameters, or of another kind, is right and due for an upgrade; a wrong password is not."""
    assert await passwords.verify(stored, "correct horse") == OUTDATED
    assert await passwords.verify(stored, "correct horsf") == WRONG


async def test_no_hash_is_wrong(passwords: Passwords) -> None:
    """Where there is no hash, or none that is known, every password is wrong."""
    assert await passwords.verify(None, "correct horse") == WRONG
    assert await passwords.verify("correct horse", "correct horse") == WRONG


async def test_a_password_too_long_is_wrong_after_the_usual_work(passwords: Passwords) -> None:
    """A password that nobody can have set is wrong, also for an imported hash that would match it, and costs a hash."""
    long = "x" * (LONGEST + 1)
    stored = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(long)
    started = time.perf_counter()
    assert await passwords.verify(stored, long) == WRONG
    # The hash itself would take microseconds; the dummy takes 19 MiB twice.
    assert time.perf_counter() - started > 0.002


async def test_one_password_typed_on_two_systems_is_one_password(passwords: Passwords) -> None:
    """Composed and decomposed letters, and compatibility forms, are the same password (NFKC)."""
    composed, decomposed = "cr\u00e8me br\u00fbl\u00e9e", unicodedata.normalize("NFD", "cr\u00e8me br\u00fbl\u00e9e")
    assert composed != decomposed
    stored = await passwords.hash(decomposed)
    assert await passwords.verify(stored, composed) == RIGHT
    assert await passwords.verify(stored, decomposed) == RIGHT


async def test_an_import_that_was_not_normalised_verifies_as_typed(passwords: Passwords) -> None:
    """A hash that another system made of the password as typed is right and due for an upgrade."""
    typed = unicodedata.normalize("NFD", "cr\u00e8me br\u00fbl\u00e9e")
    stored = argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(typed)
    assert await passwords.verify(stored, typed) == OUTDATED


async def test_unsupported_imports_are_refused(passwords: Passwords) -> None:
    """A hash in no known format, or one that costs too much, is refused before it is stored."""
    await passwords.check_importable(await passwords.hash("correct horse"))
    for stored in (
        "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
        "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    ):
        with pytest.raises(PasswordHashUnsupported):
            await passwords.check_importable(stored)


async def test_what_a_library_here_does_not_bear_is_refused(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rules let pass, a hash that fails when it is verified on this machine is not imported."""
    monkeypatch.setattr(formats, "SCRYPT_BITS", 64)
    beyond = "$scrypt$ln=16,r=1,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
    for _ in range(2):
        with pytest.raises(PasswordHashUnsupported):
            await passwords.check_importable(beyond)


async def test_one_hash_of_a_kind_is_verified(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import of a million users verifies one of each kind, and not a million."""
    first, second, other = (bcrypt.hashpw(b"correct horse", bcrypt.gensalt(cost)).decode() for cost in (4, 4, 5))
    await passwords.check_importable(first)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    for pid in passwords.pids:
        os.kill(pid, signal.SIGKILL)
    await passwords.check_importable(second)
    with pytest.raises(PasswordHashingUnavailable):
        await passwords.check_importable(other)


UNVERIFIABLE = {
    "unknown format": "$1$abcdefgh$irWbblnpmw.5z7wgBnprh0",
    "beyond the limits": "$2b$31$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "more memory than there is": "$argon2id$v=19$m=200000,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "stray bits": "$2b$04$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeX",
    "no text": "\udcff" * 40,
}


@pytest.mark.parametrize("stored", UNVERIFIABLE.values(), ids=UNVERIFIABLE)
async def test_a_stored_hash_that_cannot_be_verified_is_a_wrong_password(
    stored: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The answer is that of a wrong password, after the work of one; the log names the user and not the hash."""
    asked = []
    hasher = Passwords(memory_kib=19_456, passes=2, processes=1, memory_mib=100)
    run = hasher._pool.run

    async def counted(*request: bytes, **limits: Any) -> bytes:
        asked.append(request)
        return await run(*request, **limits)

    hasher._pool.run = counted  # type: ignore[method-assign]
    try:
        for unverifiable, hash_ in ((1, stored), (1, None), (1, await hasher.hash("correct horse"))):
            asked.clear()
            assert await hasher.verify(hash_, "wrong", "user_1") == WRONG
            assert (hasher.unverifiable, len(asked)) == (unverifiable, 1)
            assert asked[0][1].startswith(b"$argon2id$v=19$m=19456,t=2,p=1$")
    finally:
        hasher.close()
    written = "".join(capfd.readouterr())
    assert written.count("stored password hash cannot be verified") == 1
    assert "user_1" in written
    assert stored not in written


async def test_a_hash_that_its_library_refuses_is_a_wrong_password(
    passwords: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of a library is not told apart from a wrong password by who guesses, and is counted."""
    monkeypatch.setattr(formats, "SCRYPT_BITS", 64)
    beyond = "$scrypt$ln=16,r=1,p=1$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E"
    assert await passwords.verify(beyond, "correct horse", "user_1") == WRONG
    assert passwords.unverifiable == 1


async def test_a_hash_larger_than_the_memory_is_not_imported() -> None:
    """What this machine could never verify is refused; a hash of our own always fits."""
    hasher = Passwords(memory_kib=65_536, passes=2, processes=2, memory_mib=1)
    try:
        await hasher.check_importable(await hasher.hash("correct horse"))
        assert hasher.memory_limit == 2 * (65_536 * 1024 + PROCESS_BYTES)
        with pytest.raises(PasswordHashUnsupported):
            await hasher.check_importable(
                "$argon2id$v=19$m=262144,t=4,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG"
            )
    finally:
        hasher.close()


DEAR = {
    "argon2": "$argon2id$v=19$m=262144,t=4,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b+dWRWJTmaaJObG",
    "bcrypt": "$2b$14$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW",
    "scrypt": "$scrypt$ln=17,r=8,p=2$aM15713r3Xsvxbi31lqr1Q$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
}


@pytest.mark.parametrize("stored", DEAR.values(), ids=DEAR)
async def test_a_dear_hash_has_the_time_that_it_needs(
    passwords: Passwords, stored: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an import lets pass is not given up on a busy machine: ten times as long as it takes on an idle one."""
    given = []

    async def answered(*_: bytes, patience: float, **__: Any) -> bytes:
        given.append(patience)
        return b""

    monkeypatch.setattr(passwords._pool, "run", answered)
    await passwords.verify(None, "guess")
    await passwords.verify(stored, "guess")
    usual, dear = given
    assert usual < 12
    assert dear > 20


async def test_there_are_no_more_processes_than_the_memory_bears() -> None:
    """On a machine of many cores and little memory the number is that of the memory, and one at least."""
    for mib, expected in ((1, 1), (81, min(3, len(os.sched_getaffinity(0))))):
        hasher = Passwords(memory_kib=19_456, passes=2, memory_mib=mib)
        assert hasher.limit == expected
        hasher.close()


async def test_the_loop_turns_while_passwords_are_hashed(passwords: Passwords) -> None:
    """Hashing leaves the event loop free: other calls are answered meanwhile."""
    hashing = asyncio.gather(*(passwords.hash("correct horse") for _ in range(8)))
    turns = 0
    while not hashing.done():
        await asyncio.sleep(0.001)
        turns += 1
    # Eight hashes in two processes take 40 ms at the very least; on the loop there would be no turn between them.
    assert turns > 8
    await hashing
