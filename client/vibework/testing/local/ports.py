"""Loopback TCP ports: finding a free one, telling a taken one."""

from __future__ import annotations

import itertools
import os
import secrets
import socket
from functools import cache
from typing import Final

LOOPBACK = "127.0.0.1"

# Below the ports that a system gives to outgoing connections, from 32768 on Linux: one of them could take the port
# before it is listened on.
LISTENERS: Final = range(20_000, 32_000)
# So many in a row are one process's alone, which holds the first of them and gives out the others.
_OWN: Final = 100
_SHARES: Final = len(LISTENERS) // _OWN

_turns: Final = itertools.count(secrets.randbelow(_OWN))


def free_port() -> int:
    """Return a loopback port that nothing listens on now, and that other processes that ask here do not get."""
    own = _share_of(os.getpid())
    for turn in itertools.islice(_turns, len(own)):
        port = own[turn % len(own)]
        if not is_taken(port):
            return port
    raise OSError(f"something listens on every port from {own[0]} to {own[-1]}")


@cache
def _share_of(process: int) -> range:
    """Return the ports of this process, which is told so that a fork of it has others."""
    for number in range(process, process + _SHARES):
        share = LISTENERS[_OWN * (number % _SHARES) :][:_OWN]
        first = socket.socket()
        try:
            first.bind((LOOPBACK, share[0]))
        except OSError:
            first.close()
        else:
            # Held until the process ends, however it does.
            first.detach()
            return share[1:]
    raise OSError(f"the ports from {LISTENERS[0]} to {LISTENERS[-1]} are all in use")


def preferred_port(port: int) -> int:
    """Return the loopback port if it is free, else one that is."""
    return free_port() if is_taken(port) else port


def is_taken(port: int) -> bool:
    """Say whether something listens on the loopback port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return True
    return False


def answers(port: int, *, timeout: float = 1.0) -> bool:
    """Say whether the server on the loopback port speaks first, as MySQL's does; `timeout` in seconds."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=timeout) as connection:
            return bool(connection.recv(1))
    except OSError:
        return False
