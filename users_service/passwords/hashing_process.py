"""The program that hashes: `python -m users_service.passwords.hashing_process`, a child of the service.

It answers one request after the other until its input ends, which it does with the service. It imports little, since
one runs for each core. Passwords and hashes travel through the stream alone.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from users_service.passwords import argon2id, frames, verification

STDIN: Final = 0
STDOUT: Final = 1
# The event loop, which all other calls wait for, has priority over the hashes.
NICENESS: Final = 5
# If memory runs out, the kernel should end one of these rather than the service: another process repeats its request.
# The process with the higher score (proc(5), oom_score_adj) ends first.
OUT_OF_MEMORY: Final = "/proc/self/oom_score_adj"
SCORE_ABOVE_SERVICE: Final = 500
HIGHEST_SCORE: Final = 1000


def main() -> None:
    """Answer requests until there are no more."""
    _step_back()
    while (body := _read_frame()) is not None:
        _write(_answer(body))


def _step_back() -> None:
    # The service still hashes while it drains, so signals are ignored; this process ends with the service.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # Some containers refuse the following, and some systems do not know it; hashing works without.
    with suppress(OSError):
        os.nice(NICENESS)
    with suppress(OSError):
        _end_before_service()


def _end_before_service() -> None:
    # Added to the service's own score: pods start with a high one, and lowering it takes a privilege.
    with open(OUT_OF_MEMORY) as score:  # noqa: PTH123 - pathlib takes a megabyte
        higher = min(int(score.read()) + SCORE_ABOVE_SERVICE, HIGHEST_SCORE)
    with open(OUT_OF_MEMORY, "w") as score:  # noqa: PTH123
        score.write(str(higher))


def _answer(body: bytes) -> bytes:
    try:
        return frames.pack(frames.DONE, _carry_out(*frames.unpack(body)))
    except Exception as error:  # noqa: BLE001 - it is the service's to raise; the text might hold what was hashed
        return frames.pack(frames.FAILED, type(error).__name__.encode())


def _carry_out(wanted: bytes, *fields: bytes) -> bytes:
    if wanted == frames.HASH:
        memory_kib, passes, password = fields
        return argon2id.hash_password(password, int(memory_kib), int(passes)).encode()
    stored, *candidates = fields
    return _first_match(stored.decode(), candidates)


def _first_match(stored: str, candidates: list[bytes]) -> bytes:
    """Return the number of the first candidate that is the password, or nothing."""
    for number, candidate in enumerate(candidates):
        if verification.matches(stored, candidate):
            return b"%d" % number
    return b""


def _read_frame() -> bytes | None:
    head = _read(frames.LENGTH_BYTES)
    return None if head is None else _read(frames.length(head))


def _read(size: int) -> bytes | None:
    """Return so many bytes; None when the stream ends before."""
    found = b""
    while len(found) < size:
        try:
            some = os.read(STDIN, size - len(found))
        except ConnectionError:
            return None
        if not some:
            return None
        found += some
    return found


def _write(frame: bytes) -> None:
    try:
        while frame:
            frame = frame[os.write(STDOUT, frame) :]
    except OSError:
        # The service is gone.
        raise SystemExit from None


if __name__ == "__main__":
    main()
