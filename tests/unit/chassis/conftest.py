"""A production server with a servicer of the test's own behind it, over a real channel."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from io import BytesIO
from time import monotonic
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.notifications.v1 import notification_service_pb2_grpc as notifications_grpc
from vibework.users.v1 import session_service_pb2 as sessions_pb2
from vibework.users.v1 import session_service_pb2_grpc as sessions_grpc

from chassis.interceptors import in_flight
from chassis.interceptors.gates import Gate
from chassis.logs import logging
from chassis.serving.registration import Registration
from chassis.serving.server import Server, build_server
from chassis.settings import ServerSettings
from tests.harness.patience import PATIENCE_SECONDS

Unary = Callable[[Any, Any], Awaitable[Any]]
Stream = Callable[[Any, Any], AsyncIterator[Any]]
TOKEN = "a" * 43


async def _answer(_: Any, __: Any) -> Any:
    return sessions_pb2.ValidateSessionResponse()


async def _no_events(_: Any, __: Any) -> AsyncIterator[Any]:
    yield notifications_pb2.WatchNotificationsResponse(resume_token="first")


@dataclass
class Running:
    """A started server and stubs that call it."""

    server: Server
    channel: grpc.aio.Channel
    probe_error: list[Exception] = field(default_factory=list)

    def validate(self, token: str = TOKEN, **options: Any) -> Any:
        """Call the unary method that the test's handler serves."""
        stub = sessions_grpc.SessionServiceStub(self.channel)
        return stub.ValidateSession(sessions_pb2.ValidateSessionRequest(session_token=token), **options)

    def raw(self, method: str, request: bytes) -> Any:
        """Call any method with any bytes."""
        call: Any = self.channel.unary_unary(method)
        return call(request)

    def watch(self, user_id: str = "user_01jd8k2v5rf2xbq0m3c9w7n4ht", **options: Any) -> Any:
        """Call the streaming method that the test's handler serves."""
        stub = notifications_grpc.NotificationServiceStub(self.channel)
        return stub.WatchNotifications(notifications_pb2.WatchNotificationsRequest(user_id=user_id), **options)


Serve = Callable[..., Awaitable[Running]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Return what starts a server on a free port; its handlers and settings are the test's."""
    async with AsyncExitStack() as stack:

        async def start(
            unary: Unary = _answer, stream: Stream = _no_events, gates: Sequence[Gate] = (), **settings: Any
        ) -> Running:
            server, problems = _build(unary, stream, gates, {"grpc_drain_ms": 0, "health_interval_ms": 20, **settings})
            await server.start()
            stack.push_async_callback(server.stop, 0.2)
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(server.address))
            return Running(server, channel, problems)

        yield start


def _build(
    unary: Unary, stream: Stream, gates: Sequence[Gate], settings: dict[str, Any]
) -> tuple[Server, list[Exception]]:
    class Sessions(sessions_grpc.SessionServiceServicer):
        async def ValidateSession(self, request: Any, context: Any) -> Any:
            return await unary(request, context)

    class Notifications(notifications_grpc.NotificationServiceServicer):
        async def WatchNotifications(self, request: Any, context: Any) -> AsyncIterator[Any]:
            async for event in stream(request, context):
                yield event

    problems: list[Exception] = []

    async def probe() -> None:
        if problems:
            raise problems[0]

    services: list[Registration] = [
        (sessions_grpc.add_SessionServiceServicer_to_server, Sessions()),  # type: ignore[abstract]
        (notifications_grpc.add_NotificationServiceServicer_to_server, Notifications()),  # type: ignore[abstract]
    ]
    return build_server(ServerSettings(**settings), services, probe=probe, gates=gates), problems


@pytest.fixture
def past_the_cap(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Awaitable[None]]:
    """Return what lets so much time pass for the server that it ends whatever is older than the cap."""
    ahead = 0.0
    swept = asyncio.Event()

    def now() -> float:
        if ahead:
            swept.set()
        return monotonic() + ahead

    async def move() -> None:
        nonlocal ahead
        ahead = 2 * ServerSettings.model_fields["grpc_max_deadline_ms"].default / 1000
        for _ in range(2):
            # The second time, what the first sweep ended has been told so.
            swept.clear()
            await swept.wait()

    monkeypatch.setattr(in_flight, "monotonic", now)
    return move


@dataclass
class Log:
    """What was logged so far, as the JSON lines say it."""

    stream: BytesIO
    flush: Callable[[], object]

    @property
    def text(self) -> str:
        """Return all that was written."""
        self.flush()
        return self.stream.getvalue().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Return the lines as dictionaries."""
        return [json.loads(line) for line in self.text.splitlines()]

    async def wait_for(self, event: str) -> list[dict[str, Any]]:
        """Return the lines of an event once there are any; access lines come 0.1 s after their call."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if found := [line for line in self.lines if line["event"] == event]:
                    return found
                await asyncio.sleep(0.01)


@pytest.fixture
def log() -> Log:
    """Send the log to memory; ask for it before ``serve`` builds a server."""
    stream = BytesIO()
    sink = logging.configure("info", "json", stream)
    return Log(stream, sink.flush)


@dataclass
class Failure:
    """The rich status of a failed call."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    metadata: dict[str, str]
    violations: list[tuple[str, str]]
    retry_after: float | None
    request_id: str


async def failure_of(call: Awaitable[Any]) -> Failure:
    """Await a call that must fail and return what its status says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    kinds = (info, bad, retry, request)
    found = {detail.TypeName() for detail in status.details if any(detail.Unpack(kind) for kind in kinds)}
    return Failure(
        code=caught.value.code(),
        message=caught.value.details() or "",
        reason=info.reason,
        domain=info.domain,
        metadata=dict(info.metadata),
        violations=[(item.field, item.reason) for item in bad.field_violations],
        retry_after=retry.retry_delay.ToTimedelta().total_seconds() if "google.rpc.RetryInfo" in found else None,
        request_id=request.request_id,
    )
