"""Ports shared with SO_REUSEPORT: by the listeners of one process, or by several processes of one service."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_OPEN_FILES: Final = Path("/proc/self/fd")
# All addresses: those of IPv6 and, on Linux, those of IPv4.
_EVERYWHERE: Final = "::"


def place(host: str) -> tuple[str, socket.AddressFamily]:
    """Return what to bind for a host, whose IPv6 address may be in brackets.

    On ``::`` gRPC listens to IPv4 as well, and to nothing else where the system has no IPv6; so do we.
    """
    name = host.removeprefix("[").removesuffix("]")
    if name == _EVERYWHERE and not socket.has_dualstack_ipv6():
        return "0.0.0.0", socket.AF_INET  # noqa: S104 - asked for
    return name, socket.AF_INET6 if ":" in name else socket.AF_INET


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address, and that nobody else listens on; raises OSError."""
    name, family = place(host)
    return socket.create_server((name, port), family=family, dualstack_ipv6=name == _EVERYWHERE)


def address(host: str, port: int | str) -> str:
    """Return ``host:port`` as gRPC takes it, an IPv6 address in brackets."""
    name = host.removeprefix("[").removesuffix("]")
    return f"[{name}]:{port}" if ":" in name else f"{host}:{port}"


def reserve(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a port (0: any free one) without listening, so that it stays ours until the listeners bind it, too.

    The socket that is returned, and the listeners, use SO_REUSEPORT. With that alone two services could share a port
    without noticing, so the first bind is exclusive, unless the port is to be ``shared``, such as with the processes
    that ours replace. Raises OSError.
    """
    name, family = place(host)
    if not shared:
        with listening(host, port) as exclusive:
            port = exclusive.getsockname()[1]
    with ExitStack() as undo:
        reserved = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((name, port))
        undo.pop_all()
    return reserved


def leave(port: int) -> None:
    """Stop listening on a port, for good; open connections stay (Linux; elsewhere nothing happens).

    gRPC closes its listening sockets only when it sends GOAWAY. A client that reconnects at once could reach a socket
    that is being closed, and be reset, although another process listens on the port. The sockets are gRPC's own, found
    among our open files; gRPC logs a line on stderr for each, since to it they have failed.
    """
    for number in _open_sockets():
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as found:  # closed meanwhile
            if _listens(found, port):
                found.shutdown(socket.SHUT_RD)


def _open_sockets() -> list[int]:
    found = []
    for entry in _OPEN_FILES.iterdir() if _OPEN_FILES.exists() else ():
        with suppress(OSError):
            if str(entry.readlink()).startswith("socket:"):
                found.append(int(entry.name))
    return found


def _listens(found: socket.socket, port: int) -> bool:
    if found.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    return bool(found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)) and found.getsockname()[1] == port
