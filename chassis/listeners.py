"""Several gRPC servers of one event loop on one port, so that calls are accepted several at a time.

A ``grpc.aio`` server asks gRPC's core for one new call, and for the next one only in a later turn of the event loop,
when another thread has handed over the last: of a crowd, one call a turn gets in. Servers of their own do so beside
each other, each for the connections that the kernel gives it (docs/decisions/0052-several-listeners.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Final

import grpc

from chassis import ports, tls
from chassis.settings import ServerSettings

# Together they take half a MiB and as many file descriptors.
LISTENERS: Final = 16


class PortTaken(OSError):
    """The address to serve on cannot be bound."""


class Listeners:
    """Servers with the same handlers on one port; call it inside the event loop that will serve."""

    def __init__(self, settings: ServerSettings, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._settings = settings
        self._servers = [grpc.aio.server(options=_options(settings)) for _ in range(LISTENERS)]
        for server in self._servers:
            server.add_generic_rpc_handlers(handlers)

    def bind(self) -> int:
        """Bind the port for all of them, and return it. Raises ``PortTaken``."""
        host, port = self._settings.grpc_host, self._settings.grpc_port
        credentials = tls.server_credentials(self._settings, LISTENERS)
        try:
            with nullcontext() if self._settings.grpc_so_reuseport else ports.reserve(host, port) as ours:
                port = port if ours is None else ours.getsockname()[1]
                for server, own in zip(self._servers, credentials, strict=True):
                    port = _bind(server, f"{host}:{port}", own)
        except (OSError, RuntimeError) as error:
            raise PortTaken(f"cannot listen on {host}:{port}: the port is taken or not ours") from error
        return port

    async def start(self) -> None:
        """Accept calls."""
        await asyncio.gather(*(server.start() for server in self._servers))

    async def stop(self, grace: float) -> None:
        """Refuse new calls; those in flight are cancelled after ``grace`` seconds."""
        await asyncio.gather(*(server.stop(grace) for server in self._servers))


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> int:
    if credentials is None:
        return server.add_insecure_port(address)
    return server.add_secure_port(address, credentials)


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.grpc_max_message_bytes),
        ("grpc.max_send_message_length", settings.grpc_max_message_bytes),
        ("grpc.keepalive_time_ms", settings.grpc_keepalive_ms),
        ("grpc.keepalive_timeout_ms", settings.grpc_keepalive_timeout_ms),
        # Callers may ping as often as we do; the default answers GOAWAY too_many_pings.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", settings.grpc_keepalive_ms // 2),
        ("grpc.keepalive_permit_without_calls", 1),
    ]
    if settings.grpc_max_connection_age_ms:
        options += [
            ("grpc.max_connection_age_ms", settings.grpc_max_connection_age_ms),
            ("grpc.max_connection_age_grace_ms", settings.grpc_max_connection_age_grace_ms),
        ]
    return options
