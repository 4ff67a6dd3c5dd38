"""Tests of the harness's care for PyMongo's sockets."""

from __future__ import annotations

import asyncio
import gc
import socket
import warnings
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from vibework.testing.local.ports import LOOPBACK

from tests.harness.patience import PATIENCE_SECONDS


async def test_a_client_that_is_closed_while_it_connects_leaves_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is left fails whatever test runs when it is collected."""
    assert await _left_by_a_client_closed_while_it_connects(monkeypatch) == []


@pytest.mark.asyncio_loop
async def test_nor_does_it_on_the_loop_of_asyncio(monkeypatch: pytest.MonkeyPatch) -> None:
    """On which run those that a test starts in a thread."""
    assert await _left_by_a_client_closed_while_it_connects(monkeypatch) == []


async def _left_by_a_client_closed_while_it_connects(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    connecting = asyncio.Event()
    loop = asyncio.get_running_loop()
    connect = loop.sock_connect

    async def tell(sock: socket.socket, address: Any) -> None:
        connecting.set()
        await connect(sock, address)

    with socket.socket() as full:
        full.bind((LOOPBACK, 0))
        full.listen(0)
        # With these its queue is full: whoever comes next waits for ever.
        waiting = [socket.socket() for _ in range(2)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        monkeypatch.setattr(loop, "sock_connect", tell)
        client = AsyncMongoClient[dict[str, Any]](LOOPBACK, full.getsockname()[1])
        await client.aconnect()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await connecting.wait()
        await client.close()
        for each in waiting:
            each.close()
    with warnings.catch_warnings(record=True) as left:
        warnings.simplefilter("always")
        del client
        await asyncio.sleep(0)
        gc.collect()
    return [str(each.message) for each in left if "unclosed" in str(each.message)]
