"""A port that several listeners share, and nobody else."""

from __future__ import annotations

import socket
from contextlib import ExitStack


def reserve(host: str, port: int) -> socket.socket:
    """Bind a port (0: a free one) without listening, so that it is known, ours, and stays ours while listeners come.

    They bind it with SO_REUSEPORT, as does the socket that is returned. The first bind is exclusive, for SO_REUSEPORT
    alone would let two services share a port without noticing. ``host``: as gRPC takes it, an IPv6 address in
    brackets. Raises OSError.
    """
    name = host.removeprefix("[").removesuffix("]")
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    # gRPC listens to IPv4 on the address that stands for all of IPv6, too.
    both = name == "::" and socket.has_dualstack_ipv6()
    with socket.create_server((name, port), family=family, dualstack_ipv6=both) as exclusive:
        number = exclusive.getsockname()[1]
    with ExitStack() as undo:
        reserved = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind((name, number))
        undo.pop_all()
    return reserved
