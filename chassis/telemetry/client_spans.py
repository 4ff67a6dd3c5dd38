"""Client spans: of calls to the other service, to which the trace is passed on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from chassis.telemetry.tracing import Tracing


class ClientSpans(grpc.aio.UnaryUnaryClientInterceptor):
    """Wraps unary calls; installed only where spans are wanted."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        """Make the call within a span of its own."""
        details, code = client_call_details, "CANCELLED"
        span = self._tracing.begin_call(_name(details.method))
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        for key, value in self._tracing.outgoing(span).items():
            metadata.add(key, value)
        try:
            call = await continuation(_with(details, metadata), request)
            code = (await call.code()).name
            return call
        finally:
            self._tracing.end_call(span, code)


def _with(details: grpc.aio.ClientCallDetails, metadata: grpc.aio.Metadata) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
    )


def _name(method: str | bytes) -> str:
    return method.decode() if isinstance(method, bytes) else method
