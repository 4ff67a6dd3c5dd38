"""The event loop of asynchronous tests: uvloop's, on which both services run (chassis/serving/lifecycle.py).

So what is tested is what runs, and it costs a tenth less. A test that looks into asyncio's own loop is marked
``asyncio_loop``.

Both close the sockets that PyMongo leaves open: those of connections that were being opened when a client was closed.
Its ``_async_create_connection`` closes a socket after ``OSError`` and ``TimeoutError``, not where it is cancelled, as
the monitors of a client are by its ``close``. A process that ends closes them anyway. Here the test would fail during
which one is collected, whichever that is.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import pytest
import uvloop

_connect: Final = BaseSelectorEventLoop.sock_connect


async def _or_close(connecting: Awaitable[None], sock: socket.socket) -> None:
    try:
        await connecting
    except asyncio.CancelledError:
        sock.close()
        raise


class Loop(uvloop.Loop):
    """uvloop's, which as a type of C cannot be changed."""

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect; close the socket where this is cancelled."""
        await _or_close(super().sock_connect(sock, address), sock)


async def _connect_or_close(self: BaseSelectorEventLoop, sock: socket.socket, address: Any) -> None:
    await _or_close(_connect(self, sock, address), sock)


def pytest_configure() -> None:
    """Let sockets be closed from now on."""
    BaseSelectorEventLoop.sock_connect = _connect_or_close  # type: ignore[assignment,method-assign]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Return the one loop that the test asks for."""
    if item.get_closest_marker("asyncio_loop"):
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": Loop}
