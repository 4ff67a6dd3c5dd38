"""Memory that was freed goes back to the system."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from typing import Any

import pytest

from chassis import background
from chassis.serving import memory
from tests.harness.patience import until

# As many, and of such a size, as calls that wait to be begun.
BLOCKS, BLOCK_BYTES = 20_000, 8_192


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="where glibc is")


class Blocks:
    """Memory taken from the C library."""

    def __init__(self) -> None:
        self._library: Any = ctypes.CDLL(None)
        self._library.malloc.restype, self._library.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        self._blocks = [self._library.malloc(BLOCK_BYTES) for _ in range(BLOCKS)]
        for block in self._blocks:
            ctypes.memset(block, 1, BLOCK_BYTES)

    def free(self) -> None:
        """Free all but the last one: what lies behind it would go back by itself."""
        for block in self._blocks[:-1]:
            self._library.free(block)
        del self._blocks[:-1]

    def free_last(self) -> None:
        """Free the last one."""
        self._library.free(self._blocks.pop())


@pytest.fixture
def before() -> int:
    """The memory of the process before a test takes some, without what other tests have freed."""
    memory.give_back()
    return memory.resident_bytes()


async def test_what_a_flood_has_left_is_given_back(before: int) -> None:
    """A process that took a lot for a moment does not keep it: what it is allowed to take is for everybody."""
    async with background.running(memory.keep_small(0.01)):
        await asyncio.sleep(0)
        blocks = Blocks()
        taken = memory.resident_bytes()
        blocks.free()
        await until(lambda: memory.resident_bytes() < before + memory.WORTH_BYTES, "memory to be given back")
    blocks.free_last()
    assert taken > before + BLOCKS * BLOCK_BYTES // 2


async def test_what_is_freed_long_after_is_given_back(before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a flood goes on its calls hold their memory; that this could not be given back then is forgotten later."""
    asked, give_back = 0, memory.give_back

    def counted() -> None:
        nonlocal asked
        asked += 1
        give_back()

    monkeypatch.setattr(memory, "give_back", counted)
    async with background.running(memory.keep_small(0.01)):
        await asyncio.sleep(0)
        blocks = Blocks()
        await until(lambda: asked > 2, "memory to be asked for in vain")
        held = memory.resident_bytes()
        blocks.free()
        await until(lambda: memory.resident_bytes() < before + memory.WORTH_BYTES, "memory to be given back")
    blocks.free_last()
    assert held > before + BLOCKS * BLOCK_BYTES // 2
