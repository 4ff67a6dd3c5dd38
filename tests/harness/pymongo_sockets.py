"""Closes the sockets that PyMongo leaves open: those of connections that were being opened when a client was closed.

Its ``_async_create_connection`` closes a socket after ``OSError`` and ``TimeoutError``, not where it is cancelled, as
the monitors of a client are by its ``close``. A process that ends closes them anyway. Here the test would fail during
which one is collected, whichever that is.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.selector_events import BaseSelectorEventLoop
from typing import Any, Final

_connect: Final = BaseSelectorEventLoop.sock_connect


async def _connect_or_close(self: BaseSelectorEventLoop, sock: socket.socket, address: Any) -> None:
    try:
        await _connect(self, sock, address)
    except asyncio.CancelledError:
        sock.close()
        raise


def pytest_configure() -> None:
    """Let sockets be closed from now on."""
    BaseSelectorEventLoop.sock_connect = _connect_or_close  # type: ignore[assignment,method-assign]
