"""What docs/transports.md says of both transports holds on both, and what one of them cannot do is refused by name."""

from __future__ import annotations

import asyncio
import gzip
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from pygrpc_native import EVENT_CALL, EVENT_CANCEL
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as pb

from chassis.context import calls
from chassis.errors import ConflictRetry
from chassis.peers.clients import open_channel
from chassis.serving.transports import choice
from chassis.settings import EXIT_BAD_SETTING, ServerSettings, WrongSetting
from tests.bench import http2
from tests.bench.http2 import Code, Kind
from tests.harness.not_on_native import REASONS
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.transports import NATIVE
from tests.unit.chassis.conftest import TOKEN, Running, Serve, failure_of
from tests.unit.chassis.raw_connection import VALIDATE, WATCH, connected, framed

ROOT = Path(__file__).parents[4]
DOCUMENT = (ROOT / "docs" / "transports.md").read_text()
# Each row of the table: what it is about, one cell for each transport, and what shows it.
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in DOCUMENT.partition("| feature |")[2].splitlines()[2:]
    if line.startswith("|")
]
HERE = Path(__file__).relative_to(ROOT).as_posix()
VALIDATION = pb.ValidateSessionRequest(session_token=TOKEN).SerializeToString()
WATCHING = notifications_pb2.WatchNotificationsRequest(user_id="user_01jd8k2v5rf2xbq0m3c9w7n4ht").SerializeToString()
NO_IDLING = {"grpc_max_connection_idle_ms": 0}
# How long callers wait, and how long a stop waits for them, where both are to happen.
CALL_SECONDS = GRACE_SECONDS = 2.0


@pytest.fixture(params=["grpcio", "native"])
def serve_over(serve: Serve, request: pytest.FixtureRequest) -> Serve:
    """Return what starts a server on each transport."""

    async def start(*handlers: Any, **settings: Any) -> Running:
        return await serve(*handlers, **{"grpc_transport": request.param, **NO_IDLING, **settings})

    return start


def test_the_document_has_a_table_of_features() -> None:
    """None of the tests below passes because nothing was found."""
    assert len(ROWS) > 20
    assert {len(row) for row in ROWS} == {4}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_each_row_is_held(row: list[str]) -> None:
    """Who does something is tested; who does not refuses the setting, or has the tests of it on the list."""
    feature, grpcio, native, shown = row
    assert grpcio.startswith(("yes", "no")), feature
    named = re.findall(r"`([^`]+)`", shown)
    assert named, feature
    if native.startswith("yes"):
        # A test of this file runs over both.
        assert all(callable(globals().get(name)) for name in named), named
        assert grpcio.startswith("yes"), feature
    elif all(name.isupper() for name in named):
        assert {name.lower() for name in named} <= choice.NOT_NATIVE.keys()
    else:
        assert set(named) <= {name.rpartition("/")[2].rpartition("::")[2] for name in REASONS}


def test_all_that_is_refused_is_in_the_table() -> None:
    """Whoever reads it meets no further refusal."""
    assert {name.upper() for name in choice.NOT_NATIVE} <= set(re.findall(r"`([A-Z_]+)`", DOCUMENT))


@pytest.mark.parametrize("name", choice.NOT_NATIVE)
def test_what_native_cannot_do_is_refused_by_name(name: str, tmp_path: Path) -> None:
    """No setting is passed over in silence."""
    values: dict[str, Any] = {
        "grpc_transport": "native",
        "tls_cert_file": None,
        "tls_client_ca_file": None,
        **NO_IDLING,
    }
    asked = 1 if name.endswith("_ms") else tmp_path
    if name.startswith("tls"):
        values |= {"tls_cert_file": tmp_path, "tls_key_file": tmp_path}
    with pytest.raises(
        WrongSetting, match=f"^{name.upper()}: GRPC_TRANSPORT=native has no|^{name.upper()}: .* closes no"
    ):
        choice.check(ServerSettings(**{**values, name: asked}))
    choice.check(ServerSettings(**{**values, name: asked, "grpc_transport": "grpcio"}))


def test_a_refusal_ends_the_start_in_one_line() -> None:
    """It names the setting, and the exit code is that of a wrong setting."""
    environment = {
        **os.environ,
        **NATIVE,
        "GRPC_MAX_CONNECTION_AGE_MS": "1000",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    script = Path(__file__).parents[1] / "echo_server.py"
    ended = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == EXIT_BAD_SETTING
    what = "GRPC_TRANSPORT=native closes no connection for its age; set it to 0"
    assert ended.stderr == f"wrong setting: GRPC_MAX_CONNECTION_AGE_MS: {what}\n"


async def test_calls(serve_over: Serve) -> None:
    """A call is answered, and its request id is repeated behind the answer."""
    running = await serve_over()
    call = running.validate(metadata=(("x-request-id", "abc-1"),))
    await call
    assert ("x-request-id", "abc-1") in list(await call.trailing_metadata())


async def test_streams(serve_over: Serve) -> None:
    """Messages come in order, also faster than their caller takes them, and then the end."""

    async def count(_: Any, __: Any) -> AsyncIterator[Any]:
        for number in range(200):
            yield notifications_pb2.WatchNotificationsResponse(resume_token=f"{number}-{'x' * 2_000}")

    running = await serve_over(lambda *_: None, count)
    numbers = []
    async for event in running.watch():
        numbers.append(int(event.resume_token.partition("-")[0]))
        if not numbers[-1] % 50:
            await asyncio.sleep(0.02)
    assert numbers == list(range(200))


async def test_errors_with_details(serve_over: Serve) -> None:
    """The reason, and all that comes with it, arrives in the metadata behind the answer."""

    async def fail(_: Any, __: Any) -> Any:
        raise ConflictRetry

    running = await serve_over(fail)
    failure = await failure_of(running.validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.ABORTED, "CONFLICT_RETRY")
    assert failure.retry_after is not None
    assert failure.request_id


async def test_errors_of_streams(serve_over: Serve) -> None:
    """An error comes behind what was written."""

    async def fail(_: Any, __: Any) -> AsyncIterator[Any]:
        yield notifications_pb2.WatchNotificationsResponse(resume_token="first")
        raise ConflictRetry

    running = await serve_over(lambda *_: None, fail)
    call = running.watch()
    assert (await call.read()).resume_token == "first"
    failure = await failure_of(call.read())
    assert failure.reason == "CONFLICT_RETRY"


async def test_cancellations(serve_over: Serve) -> None:
    """A caller that leaves ends the handler."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = await serve_over(hold)
    call = running.validate()
    await asyncio.wait_for(asyncio.gather(begun.wait(), _ignoring(call, begun.wait)), PATIENCE_SECONDS)
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def _ignoring(call: Any, first: Callable[[], Awaitable[Any]]) -> None:
    """Make a call, and take it back once something has happened."""
    sent = asyncio.ensure_future(call.code())
    await first()
    call.cancel()
    assert await sent is grpc.StatusCode.CANCELLED


async def test_deadlines(serve_over: Serve) -> None:
    """The handler knows how long its caller waits, and is ended when that is over."""
    left: list[float | None] = []
    ended = asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        call = calls.current()
        assert call is not None
        left.append(call.context.time_remaining())
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = await serve_over(hold)
    # Once there is a connection, the handler has the time to begin.
    await running.channel.channel_ready()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.validate(timeout=CALL_SECONDS)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    assert left[0] is not None
    # The wire has a longer one rounded up.
    assert 0 <= left[0] <= 1.1 * CALL_SECONDS


async def test_unknown_methods(serve_over: Serve) -> None:
    """They have a reason, and health and the methods beside them are answered."""
    running = await serve_over()
    failure = await failure_of(running.raw("/vibework.users.v1.SessionService/Unknown", b""))
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")
    await running.validate()


async def test_health(serve_over: Serve) -> None:
    """A check is answered, and a watch hears of a change."""
    running = await serve_over()
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    request = health_pb2.HealthCheckRequest()
    assert (await stub.Check(request)).status == health_pb2.HealthCheckResponse.SERVING
    watch = stub.Watch(request)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    running.server.health.drain()
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_reflection(serve_over: Serve) -> None:
    """Tools are told the services, request by request."""
    running = await serve_over()
    channel: Any = running.channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    for _ in range(2):
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        names = [service.name for service in (await call.read()).list_services_response.service]
        assert "vibework.users.v1.SessionService" in names
    await call.done_writing()
    assert await call.code() is grpc.StatusCode.OK


async def test_tokens(serve_over: Serve) -> None:
    """Gates see the metadata of a call, and its peer, so callers can prove by a token who they are."""
    seen: list[Any] = []

    async def note(_: Any, context: Any) -> Any:
        call = calls.current()
        assert call is not None
        seen.append((dict(call.metadata)["authorization"], context.peer().partition(":")[0]))
        return pb.ValidateSessionResponse()

    running = await serve_over(note)
    await running.validate(metadata=(("authorization", "Bearer abc"),))
    assert seen == [("Bearer abc", "ipv4")]


async def test_metadata_limits(serve_over: Serve) -> None:
    """More than 16 KiB is refused, with a reason."""
    running = await serve_over()
    async with connected(running.server.port, acknowledging=False) as connection:
        stream = connection.call(VALIDATE, [(b"authorization", b"x" * 200)], b"\xbe" * 69, message=VALIDATION)
        answer = await asyncio.wait_for(connection.answer(stream), PATIENCE_SECONDS)
    assert answer["grpc-status"] == "8"
    assert "grpc-status-details-bin" in answer


async def test_message_limits(serve_over: Serve) -> None:
    """A request beyond GRPC_MAX_MESSAGE_BYTES is refused, and so is an answer; the connection goes on."""

    async def large(_: Any, __: Any) -> Any:
        return pb.ValidateSessionResponse(session=pb.Session(user_agent="x" * 2_000))

    running = await serve_over(large, grpc_max_message_bytes=1_024)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await running.raw(VALIDATE.decode(), b"x" * 2_000)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    failure = await failure_of(running.validate())
    assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_compressed_requests(serve_over: Serve) -> None:
    """Requests may be compressed by gzip."""
    running = await serve_over()
    async with connected(running.server.port) as connection:
        stream = connection.call(VALIDATE, [(b"grpc-encoding", b"gzip")])
        message = framed(gzip.compress(VALIDATION), flag=1)
        connection.send(http2.frame(Kind.DATA, http2.END_STREAM, stream, message))
        answer = await asyncio.wait_for(connection.answer(stream), PATIENCE_SECONDS)
    assert answer["grpc-status"] == "0"


async def test_admission(serve_over: Serve) -> None:
    """Beyond the limit calls are refused with a reason."""
    begun, proceed = asyncio.Event(), asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        begun.set()
        await proceed.wait()
        return pb.ValidateSessionResponse()

    running = await serve_over(hold, grpc_max_in_flight=1)
    held = asyncio.ensure_future(running.validate().code())
    await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
    assert (await failure_of(running.validate())).reason == "OVERLOADED"
    proceed.set()
    assert await held is grpc.StatusCode.OK


async def test_the_cap_on_calls(serve_over: Serve) -> None:
    """A call whose caller sets no deadline ends with ours."""

    async def hold(_: Any, __: Any) -> Any:
        await asyncio.Event().wait()

    running = await serve_over(hold, grpc_max_deadline_ms=100)
    assert (await failure_of(running.validate())).reason == "DEADLINE_EXCEEDED"


async def test_calls_that_are_taken_back(serve_over: Serve) -> None:
    """A flood of them (CVE-2023-44487) leaves nothing behind, and others are served."""
    running = await serve_over()
    async with connected(running.server.port) as connection:
        for _ in range(300):
            stream = connection.call(VALIDATE, message=VALIDATION)
            connection.send(http2.frame(Kind.RST_STREAM, 0, stream, http2.number(Code.CANCEL)))
        await running.validate()
        assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_a_call_that_is_taken_back_before_it_has_begun_is_forgotten(serve: Serve) -> None:
    """Native hands over a call and its end in one turn of the event loop, in which no task has begun."""
    running = await serve(grpc_transport="native", **NO_IDLING)
    front: Any = running.server._transport
    index = [name for name, *_ in front._table].index(VALIDATE.decode())
    call = (EVENT_CALL, 1 << 40, index, VALIDATION, None, ((), "ipv4:127.0.0.1:1", None))
    front._take([call, (EVENT_CANCEL, 1 << 40, index, b"", None, None)])
    assert len(front._open) == 1
    await until(lambda: not front._open, "the call is forgotten")


async def test_keepalive(serve_over: Serve) -> None:
    """A connection that answers no ping is closed, and one that answers them is not."""
    running = await serve_over(grpc_keepalive_ms=1_000, grpc_keepalive_timeout_ms=2_000)
    async with connected(running.server.port, pings=False) as gone, connected(running.server.port) as there:
        staying = asyncio.ensure_future(there.closed())
        await asyncio.wait_for(gone.closed(), PATIENCE_SECONDS)
        assert not staying.done()
        staying.cancel()


async def test_callers_that_take_nothing(serve_over: Serve) -> None:
    """A stream that nobody takes waits, instead of filling memory, and its caller can leave."""
    written = 0

    async def endless(_: Any, __: Any) -> AsyncIterator[Any]:
        nonlocal written
        while True:
            yield notifications_pb2.WatchNotificationsResponse(resume_token="x" * 10_000)
            written += 1

    running = await serve_over(lambda *_: None, endless)
    async with connected(running.server.port, window=0) as connection:
        connection.call(WATCH, message=WATCHING)
        await until(lambda: running.server.in_flight.total == 1, "the stream is open")
        await asyncio.sleep(0.3)
        assert written < 50
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_lists_of_addresses(serve_over: Serve) -> None:
    """The other service is reached by a list of its addresses."""
    running = await serve_over()
    async with open_channel(f"ipv4:{running.server.address},{running.server.address}") as channel:
        await Running(running.server, channel).validate()


async def test_shared_ports(serve_over: Serve) -> None:
    """Several processes can have a port together, which is how workers share it; otherwise it is one's own."""
    first = await serve_over(grpc_so_reuseport=True)
    await serve_over(grpc_so_reuseport=True, grpc_port=first.server.port)
    own = await serve_over()
    with pytest.raises(OSError, match="the port is taken or not ours"):
        await serve_over(grpc_port=own.server.port)


async def test_drains(serve_over: Serve) -> None:
    """A stop waits for the calls in flight, ends streams, and is over as soon as they are."""
    begun, proceed = asyncio.Event(), asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        begun.set()
        await proceed.wait()
        return pb.ValidateSessionResponse(refresh_due=True)

    running = await serve_over(hold)
    held = asyncio.ensure_future(running.validate())
    await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
    stopping = asyncio.create_task(running.server.stop(2 * PATIENCE_SECONDS))
    await asyncio.sleep(0.05)
    proceed.set()
    assert (await held).refresh_due
    await asyncio.wait_for(stopping, PATIENCE_SECONDS)


async def test_the_end_of_the_grace(serve_over: Serve) -> None:
    """What is still in flight then is told to go elsewhere."""
    begun = asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        begun.set()
        await asyncio.Event().wait()

    running = await serve_over(hold)
    held = asyncio.ensure_future(failure_of(running.validate()))
    await asyncio.wait_for(begun.wait(), PATIENCE_SECONDS)
    await running.server.stop(GRACE_SECONDS)
    assert (await held).reason == "SHUTTING_DOWN"
