"""The bounded pool: how much runs, how much waits, and what becomes of callers who leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from users_service.errors import PasswordHashingBusy
from users_service.passwords.pool import HashingPool


@pytest.fixture
async def pool() -> AsyncIterator[HashingPool]:
    """One thread, and room for two who wait."""
    made = HashingPool(threads=1, queue=2)
    yield made
    made.close()


async def settle() -> None:
    """Let the tasks that are ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_more_than_may_wait_are_refused(pool: HashingPool) -> None:
    """With the thread taken and the queue full, the next caller is refused at once, with a time to come back."""
    gate = threading.Event()
    tasks = [asyncio.create_task(pool.run(gate.wait, 10)) for _ in range(3)]
    await settle()
    assert pool.waiting == 2
    with pytest.raises(PasswordHashingBusy) as refused:
        await pool.run(gate.wait, 10)
    assert refused.value.retry_after is not None
    gate.set()
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert pool.waiting == 0


async def test_a_cancelled_waiter_gives_its_place_free(pool: HashingPool) -> None:
    """Who leaves the queue makes room for another, and its work is never begun."""
    gate = threading.Event()
    done: list[str] = []
    running = asyncio.create_task(pool.run(gate.wait, 10))
    await settle()
    leaving = asyncio.create_task(pool.run(done.append, "left"))
    staying = asyncio.create_task(pool.run(done.append, "stayed"))
    await settle()
    leaving.cancel()
    await settle()
    assert pool.waiting == 1
    late = asyncio.create_task(pool.run(done.append, "late"))
    await settle()
    gate.set()
    await asyncio.gather(running, staying, late)
    assert done == ["stayed", "late"]
    assert leaving.cancelled()


async def test_a_cancelled_caller_does_not_free_a_busy_thread(pool: HashingPool) -> None:
    """Work that has begun holds its thread to the end, so no more runs than there are threads."""
    gate = threading.Event()
    running = asyncio.create_task(pool.run(gate.wait, 10))
    await settle()
    running.cancel()
    await settle()
    assert running.cancelled()
    following = asyncio.create_task(pool.run(threading.active_count))
    await settle()
    assert pool.waiting == 1
    gate.set()
    await following
    assert pool.waiting == 0


async def test_an_error_in_the_work_reaches_its_caller_and_frees_the_thread(pool: HashingPool) -> None:
    """A failing hash fails one call only."""
    with pytest.raises(ZeroDivisionError):
        await pool.run(divmod, 1, 0)
    assert await pool.run(divmod, 7, 2) == (3, 1)


async def test_room_is_told_beforehand(pool: HashingPool) -> None:
    """A caller can learn that it would be refused before it does what it cannot undo."""
    pool.ensure_room()
    gate = threading.Event()
    tasks = [asyncio.create_task(pool.run(gate.wait, 10)) for _ in range(3)]
    await settle()
    with pytest.raises(PasswordHashingBusy):
        pool.ensure_room()
    gate.set()
    await asyncio.gather(*tasks)
    pool.ensure_room()
