"""Loopback TCP ports: finding a free one, telling a taken one."""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def free_port() -> int:
    """Return a loopback port that nothing listens on now; another process may take it at any time."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


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
