"""Endpoints of servers in a setting: ``host``, ``host:port`` or ``[IPv6]:port``, comma-separated."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_ENDPOINT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+)(?::(\d{1,5}))?").fullmatch


class Endpoint(NamedTuple):
    """The host and port of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str, default_port: int) -> tuple[Endpoint, ...]:
    """Return the endpoints, each once. Raises ValueError for text that is none."""
    items = filter(None, (item.strip() for item in text.split(",")))
    return tuple(dict.fromkeys(_endpoint(item, default_port) for item in items))


def _endpoint(item: str, default_port: int) -> Endpoint:
    found = _ENDPOINT(item)
    port = int(found[2] or default_port) if found else 0
    if not found or not 0 < port < 65_536:
        raise ValueError(f"{item!r} is no host[:port]")
    return Endpoint(found[1].strip("[]"), port)
