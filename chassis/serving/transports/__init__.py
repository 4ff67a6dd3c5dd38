"""Transports: what carries calls to handlers; the rest of the chassis knows of it only what is written here.

A transport gets the routes of a server, finds the method of each call in them, and runs its handler with a context
(``chassis.interceptors.Context``). Which one serves is a setting (docs/transports.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from chassis.interceptors import Handler


class PortTaken(OSError):
    """The address to serve on cannot be bound."""


@dataclass(frozen=True, eq=False, slots=True)
class Served:
    """A method as a transport serves it. Its handler runs once the headers of a call are there, or later.

    ``handle``: reads the request as bytes from the context. It returns the bytes of the response, or, where the method
    is ``streaming``, writes messages to the context, which ``encode`` turns into bytes. ``conversation``: it may take
    several requests, from the iterator that it is called with.
    """

    handle: Handler
    streaming: bool = False
    encode: Callable[[Any], bytes] | None = None
    conversation: bool = False


class Routes(Protocol):
    """Some of the methods of a server."""

    @property
    def served(self) -> Mapping[str, Served]:
        """The methods that are known beforehand, by their full names (``/package.Service/Method``)."""
        ...

    def find(self, name: str, metadata: Any) -> Served | None:
        """Return the method of a call, in the task of that call, or None where it is none of these."""
        ...


class Transport(Protocol):
    """Listens on one port and serves the routes of one server."""

    @property
    def routes(self) -> Sequence[Routes]:
        """What it serves: of a method that several of them have, the first is served."""
        ...

    @property
    def restarts(self) -> int:
        """How many of its parts have died and been replaced."""
        ...

    @property
    def failed(self) -> asyncio.Event:
        """Set when it can accept no more calls, for good."""
        ...

    def bind(self) -> int:
        """Bind the port and return it. Raises ``PortTaken``."""
        ...

    async def start(self) -> None:
        """Accept calls."""
        ...

    async def stop(self, grace: float) -> None:
        """Refuse new calls; those in flight are cancelled after ``grace`` seconds."""
        ...

    async def cut(self) -> None:
        """End what ``stop`` still waits for."""
        ...
