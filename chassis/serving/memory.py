"""Memory that a crowd of calls has taken and left goes back to the system.

gRPC's core keeps a call that has come and was not begun yet, also one that its caller has taken back (rapid reset,
CVE-2023-44487): 5 to 9 KB each, of up to ``MOST_WAITING`` at every listener. What is freed afterwards stays with the C
library, in an arena for each thread of the core that took some, until somebody asks for it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

# How often to look whether the process has grown, and by how much it must have: asking takes a few ms.
GIVE_BACK_SECONDS: Final = 10.0
WORTH_BYTES: Final = 48 * 1024 * 1024
# So that five minutes pass from one look to the next, and no more.
MOST_FRUITLESS: Final = 5
_STATM: Final = Path("/proc/self/statm")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


class MemoryUse(NamedTuple):
    """Memory of the process in bytes: what it occupies, and its address space."""

    resident: int
    virtual: int


def use() -> MemoryUse | None:
    """Return the memory of the process; None where the system does not say."""
    try:
        virtual, resident = _STATM.read_text().split()[:2]
    except OSError:
        return None
    return MemoryUse(int(resident) * _PAGE_BYTES, int(virtual) * _PAGE_BYTES)


def resident_bytes() -> int:
    """Return the memory that the process occupies; 0 where the system does not say."""
    found = use()
    return 0 if found is None else found.resident


def give_back() -> None:
    """Return what is free to the system, where the C library can (glibc)."""
    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


async def keep_small(look_seconds: float = GIVE_BACK_SECONDS) -> NoReturn:
    """Give memory back, for ever, while the process has ``WORTH_BYTES`` more than the least that it ever had.

    What is still in use may be freed later, so it is asked for again, after twice the time whenever little came of it.
    """
    least, fruitless = resident_bytes(), 0
    while True:
        await asyncio.sleep(look_seconds * 2**fruitless)
        taken = resident_bytes()
        least = min(least, taken)
        if taken <= least + WORTH_BYTES:
            fruitless = 0
            continue
        # Calls go on meanwhile.
        await asyncio.to_thread(give_back)
        fruitless = 0 if resident_bytes() < taken - WORTH_BYTES else min(fruitless + 1, MOST_FRUITLESS)
