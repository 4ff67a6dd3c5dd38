"""The client of another service: passes deadline and request id on, counts failures, and retries where that is safe.

A channel outlives the server behind it. ``Client.call`` wraps one method of a generated stub.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import grpc
import orjson

from chassis.context import calls, deadline
from chassis.errors import ServiceError
from chassis.peers.breaker import CircuitBreaker, CircuitOpen
from chassis.serving.tls import channel_credentials
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
    """Open a channel to ``host:port``; connects at the first call, and again after every loss.

    ``idempotent``: full names (``package.Service/Method``) that gRPC may send again.
    TLS is used when an ``authority`` is given; ``certificate`` and ``key`` make it mutual. ``interceptors``: around
    every call.
    """
    options = _channel_options(idempotent, keepalive_ms)
    if authority is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    credentials = channel_credentials(authority, certificate, key)
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=interceptors)


def open_peer_channel(
    settings: ServerSettings,
    address: str,
    *,
    idempotent: Iterable[str] = (),
    interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
) -> grpc.aio.Channel:
    """Open a channel to the other service of the pair, as the settings say: plain, TLS, or mutual TLS."""
    authority = settings.peer_tls_ca_file
    return open_channel(
        address,
        idempotent=idempotent,
        authority=authority,
        certificate=settings.tls_cert_file if authority else None,
        key=settings.tls_key_file if authority else None,
        keepalive_ms=settings.grpc_keepalive_ms,
        interceptors=interceptors,
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


def _channel_options(idempotent: Iterable[str], keepalive_ms: int) -> list[tuple[str, Any]]:
    return [
        ("grpc.keepalive_time_ms", keepalive_ms),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # The default backs off for up to two minutes: far longer than a restart takes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 5_000),
        ("grpc.service_config", _service_config(idempotent)),
    ]


def _service_config(idempotent: Iterable[str]) -> str:
    """Return gRPC's service config: addresses taken in turn, and retries of what may be repeated."""
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    names = [_method_name(name) for name in idempotent]
    if names:
        config["methodConfig"] = [{"name": names, "retryPolicy": _RETRY_POLICY}]
        # A server that ends fails all calls in flight at once: 100 failures in a row are retried before retries stop.
        config["retryThrottling"] = {"maxTokens": 200, "tokenRatio": 0.1}
    return orjson.dumps(config).decode()


_RETRY_POLICY: Final = {
    "maxAttempts": 3,
    "initialBackoff": "0.05s",
    "maxBackoff": "0.5s",
    "backoffMultiplier": 2,
    # CANCELLED, too: gRPC's core says so for a call that reaches a server in the moment in which it ends.
    "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
}


def _method_name(full_name: str) -> dict[str, str]:
    service, _, method = full_name.strip("/").partition("/")
    return {"service": service, "method": method}
