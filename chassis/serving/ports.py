"""A port that several listeners share, and nobody else; or several processes, one of which is about to leave it."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

_OPEN_FILES: Final = Path("/proc/self/fd")


def reserve(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Bind a port (0: a free one) without listening, so that it is known, ours, and stays ours while listeners come.

    They bind it with SO_REUSEPORT, as does the socket that is returned. The first bind is exclusive, for SO_REUSEPORT
    alone would let two services share a port without noticing; unless it is to be ``shared`` with others that use
    SO_REUSEPORT, such as the processes that ours replace. ``host``: as gRPC takes it, an IPv6 address in brackets.
    Raises OSError.
    """
    name = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    if not shared:
        # gRPC listens to IPv4 on the address that stands for all of IPv6, too.
        both = name == "::" and socket.has_dualstack_ipv6()
        with socket.create_server((name, port), family=family, dualstack_ipv6=both) as exclusive:
            port = exclusive.getsockname()[1]
    with ExitStack() as undo:
        reserved = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((name, port))
        undo.pop_all()
    return reserved


def leave(port: int) -> None:
    """Take no more connections on a port, for good; those that there are stay (Linux; elsewhere nothing happens).

    gRPC closes its sockets only together with its goodbye to the clients, so that a client that connects anew at once
    may meet a socket that is being closed, and is reset, while another process on the port waits for it. The sockets
    are gRPC's own, found among our open files; it takes each for one that has failed, and says so in a line on stderr.
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
