"""Connections to public addresses alone: names are looked up here, and each address is judged before it is used.

A name whose addresses are not all public is refused as a whole. What was judged is what is connected to; nothing looks
the name up again in between, so it cannot stand for another address then (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from aiohttp import TCPConnector
from aiohttp.abc import AbstractResolver, ResolveResult

from notifications_service.push_subscriptions.endpoints import EndpointRules


class AddressRefused(Exception):
    """A name stands for an address that this system does not connect to."""


class CheckedResolver(AbstractResolver):
    """Looks names up with the system's resolver, in one of its threads."""

    def __init__(self, rules: EndpointRules) -> None:
        self._rules = rules

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a name. Raises OSError where there are none, AddressRefused."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        found = [_found(host, info) for info in infos]
        # An address with a zone, as `fe80::1%eth0`, comes with a scope, which no public one has.
        if not all(self._rules.allows(each["host"]) for each in found) or any(any(info[4][3:]) for info in infos):
            raise AddressRefused
        return found

    async def close(self) -> None:
        """Close nothing."""


def new_connector(rules: EndpointRules, **options: Any) -> TCPConnector:
    """Return a pool of connections whose every address the rules allow; ``options``: of ``TCPConnector``."""

    def open_socket(info: tuple[Any, ...]) -> socket.socket:
        """Open the socket for a connection: the last place that every address passes, literal ones included."""
        kind, type_, protocol, _, address = info
        if not rules.allows(address[0]):
            raise OSError("not a public address")
        return socket.socket(family=kind, type=type_, proto=protocol)

    return TCPConnector(resolver=CheckedResolver(rules), socket_factory=open_socket, **options)


def _found(host: str, info: tuple[Any, ...]) -> ResolveResult:
    family, _, protocol, _, address = info
    numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address[0], port=address[1], family=family, proto=protocol, flags=numeric)
