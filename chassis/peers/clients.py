"""The client of another service: passes deadline and request id on, counts failures, and retries where that is safe.

A channel outlives the server behind it. ``Client.call`` wraps one method of a generated stub.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
from vibework.client import channel_options, service_config

from chassis.context import calls, deadline
from chassis.errors import ServiceError
from chassis.peers.breaker import CircuitBreaker, CircuitOpen
from chassis.peers.renewing import RenewingChannel
from chassis.peers.tokens import PeerToken
from chassis.serving.tls import ClientFiles
from chassis.settings import ServerSettings

Request = TypeVar("Request")
Response = TypeVar("Response")

# Time for the answer to travel back, and to become part of ours.
_MARGIN_SECONDS: Final = 0.01

# Codes that say "the service is away", not "the request is wrong". CANCELLED is what a server that ends
# sends to the calls it gives up; our own cancellation is an asyncio.CancelledError.
_AWAY: Final = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.CANCELLED,
    )
)


def open_channel(
    address: str,
    *,
    idempotent: Iterable[str] = (),
    authority: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    keepalive_ms: int = 30_000,
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Open a channel to ``host:port``, or to several (``ipv4:host:port,host:port``); connects at the first call.

    It connects again after every loss.

    ``idempotent``: full names (``package.Service/Method``) that gRPC may send again.
    TLS is used when an ``authority`` is given; ``certificate`` and ``key`` make it mutual. All three files are read
    again when they change. ``interceptors``: around every call.
    """
    config = service_config(idempotent, avoids_ending="," in address)
    options = channel_options(keepalive_seconds=keepalive_ms / 1_000, config=config)
    if authority is None:
        if "," in address:
            # Several addresses are not the name of a server.
            options.append(("grpc.default_authority", address.partition(":")[2].partition(",")[0]))
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    return RenewingChannel(
        ClientFiles(authority, certificate, key),
        lambda credentials: grpc.aio.secure_channel(address, credentials, options=options, interceptors=interceptors),
    )


def open_peer_channel(
    settings: ServerSettings,
    address: str,
    *,
    idempotent: Iterable[str] = (),
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Open a channel to the other service of the pair, as the settings say: plain, TLS, or mutual TLS, with a token."""
    authority = settings.peer_tls_ca_file
    showing = () if settings.peer_token_file is None else (PeerToken(settings.peer_token_file),)
    return open_channel(
        address,
        idempotent=idempotent,
        authority=authority,
        certificate=settings.tls_cert_file if authority else None,
        key=settings.tls_key_file if authority else None,
        keepalive_ms=settings.grpc_keepalive_ms,
        interceptors=(*interceptors, *showing),
    )


class Client:
    """One dependency: its timeout, its circuit breaker, and the error its absence means here.

    ``timeout``: seconds at most for one call, less when the call being served has less left.
    ``unavailable``: the domain error raised when the dependency cannot answer.
    """

    def __init__(
        self, *, timeout: float, unavailable: type[ServiceError], breaker: CircuitBreaker | None = None
    ) -> None:
        self._timeout = timeout
        self._unavailable = unavailable
        self.breaker = breaker or CircuitBreaker()

    async def call(self, method: Callable[..., Awaitable[Response]], request: Any) -> Response:
        """Call a method of a generated stub.

        Raises ``unavailable`` when there is no answer in time; any other status is the caller's to
        interpret and comes as ``grpc.aio.AioRpcError``.
        """
        try:
            self.breaker.before()
        except CircuitOpen:
            raise self._unavailable from None
        seconds = max(0.0, deadline.timeout(self._timeout) - _MARGIN_SECONDS)
        try:
            response = await method(request, timeout=seconds, metadata=_metadata())
        except grpc.aio.AioRpcError as error:
            self._note(error.code(), seconds)
            if error.code() in _AWAY:
                raise self._unavailable from error
            raise
        self.breaker.succeeded()
        return response

    def _note(self, code: grpc.StatusCode, seconds: float) -> None:
        if code not in _AWAY:
            self.breaker.succeeded()
        elif code is not grpc.StatusCode.DEADLINE_EXCEEDED or seconds > self._timeout / 2:
            # A caller in a hurry says nothing about the dependency.
            self.breaker.failed()


def _metadata() -> tuple[tuple[str, str], ...] | None:
    request_id = calls.request_id()
    return ((calls.REQUEST_ID_KEY, request_id),) if request_id else None
