"""The envelope of a call, seen from a caller: errors, request id, cap, shedding, cancellation."""

from __future__ import annotations

import asyncio
import gc
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as sessions_pb2

from chassis.context import calls, deadline
from chassis.errors import AlreadyExists, EtagMismatch, RateLimited
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Log, Serve, failure_of


class EmailTaken(AlreadyExists):
    """A domain error as a service defines it."""

    reason = "EMAIL_TAKEN"
    template = "the address is taken"


async def _wait(_: Any, __: Any) -> Any:
    await asyncio.Event().wait()


async def test_a_domain_error_arrives_as_code_and_error_info(serve: Serve) -> None:
    """A service raises a fact; the caller gets its code, reason, domain and metadata (AIP-193)."""

    async def changed(_: Any, __: Any) -> Any:
        raise EtagMismatch("2-18c")

    failure = await failure_of((await serve(changed)).validate())
    assert (failure.code, failure.message) == (grpc.StatusCode.ABORTED, EtagMismatch.template)
    assert (failure.reason, failure.domain) == ("ETAG_MISMATCH", "vibework")
    assert failure.metadata == {"current_etag": "2-18c"}
    assert failure.retry_after is None


async def test_a_retryable_error_says_when(serve: Serve) -> None:
    """What may be repeated carries RetryInfo with the wait that the service named."""

    async def limited(_: Any, __: Any) -> Any:
        raise RateLimited("account", 10, timedelta(minutes=15), retry_after=timedelta(seconds=2.5))

    failure = await failure_of((await serve(limited)).validate())
    assert (failure.code, failure.retry_after) == (grpc.StatusCode.RESOURCE_EXHAUSTED, 2.5)
    assert failure.metadata == {"limited_by": "account", "limit": "10", "window_seconds": "900"}


async def test_an_unforeseen_error_says_nothing_of_its_cause(log: Log, serve: Serve) -> None:
    """Neither the caller nor the log gets the text of a driver's error; the log gets the place."""

    async def broken(_: Any, __: Any) -> Any:
        raise ValueError("INSERT INTO users VALUES ('ada@example.com')") from OSError(
            1062, "Duplicate 'ada@example.com'"
        )

    failure = await failure_of((await serve(broken)).validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "ada@" not in failure.message
    assert "ada@" not in log.text
    line = next(line for line in log.lines if line["event"] == "unexpected error")
    assert failure.request_id == line["request_id"] != ""
    trace = line["error"]
    assert any("in broken" in frame for frame in trace)
    assert "OSError(1062)" in trace


async def test_an_abort_of_a_handler_passes_as_it_is(serve: Serve) -> None:
    """Library code that aborts by itself is neither mapped again nor turned into INTERNAL."""

    async def abort(_: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "past the end")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await serve(abort)).validate()
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.OUT_OF_RANGE, "past the end")


async def test_a_stream_that_fails_midway_keeps_what_it_sent(serve: Serve) -> None:
    """Messages sent before the error arrive, then the rich status."""

    async def stream(_: Any, __: Any) -> AsyncIterator[Any]:
        yield notifications_pb2.WatchNotificationsResponse(resume_token="first")
        raise EmailTaken

    watch = (await serve(stream=stream)).watch()
    assert (await watch.read()).resume_token == "first"
    assert (await failure_of(watch.read())).reason == "EMAIL_TAKEN"


async def test_all_broken_rules_are_named_at_once(serve: Serve) -> None:
    """A caller repairs a request in one go; the handler never sees an invalid one."""
    seen: list[Any] = []

    async def handler(request: Any, _: Any) -> Any:
        seen.append(request)

    failure = await failure_of((await serve(handler)).validate(token=""))
    assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
    assert [field for field, _ in failure.violations] == ["session_token"]
    assert seen == []


async def test_a_stream_request_is_validated_too(serve: Serve) -> None:
    """Streaming methods check their request like unary ones."""
    failure = await failure_of((await serve()).watch(user_id="").read())
    assert [field for field, _ in failure.violations] == ["user_id"]


async def test_bytes_that_are_no_request_are_the_callers_fault(serve: Serve) -> None:
    """A malformed request is INVALID_ARGUMENT and not UNKNOWN."""
    running = await serve()
    for name in ("users.v1.SessionService/ValidateSession", "notifications.v1.NotificationService/WatchNotifications"):
        failure = await failure_of(running.raw(f"/vibework.{name}", b"\xff\xff"))
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")


@pytest.mark.parametrize("shape", ["unary_unary", "unary_stream"])
async def test_an_unknown_method_is_unimplemented_with_a_reason(serve: Serve, shape: str) -> None:
    """A caller of a newer contract can tell a missing method from a broken server."""
    call = getattr((await serve()).channel, shape)("/vibework.users.v1.SessionService/Nonsense")(b"")
    failure = await failure_of(call if shape == "unary_unary" else call.read())
    assert (failure.code, failure.reason) == (grpc.StatusCode.UNIMPLEMENTED, "METHOD_UNKNOWN")


async def test_the_request_id_goes_through(serve: Serve) -> None:
    """The caller's id reaches the handler and comes back on success and on error."""
    seen: list[str] = []

    async def handler(_: Any, __: Any) -> Any:
        seen.append(calls.request_id())
        if len(seen) > 1:
            raise EmailTaken
        return sessions_pb2.ValidateSessionResponse()

    running = await serve(handler)
    metadata = ((calls.REQUEST_ID_KEY, "abc-1"),)
    for _ in range(2):
        call = running.validate(metadata=metadata)
        await asyncio.wait((asyncio.ensure_future(call.code()),))
        assert dict(await call.trailing_metadata())[calls.REQUEST_ID_KEY] == "abc-1"
    assert seen == ["abc-1", "abc-1"]


@pytest.mark.parametrize("given", [None, "", "two words", "x" * 129])
async def test_an_unsafe_request_id_is_replaced(serve: Serve, given: str | None) -> None:
    """What could forge a log line is not repeated; every failed call still has an id to quote."""

    async def taken(_: Any, __: Any) -> Any:
        raise EmailTaken

    running = await serve(taken)
    ids = []
    for _ in range(2):
        call = running.validate(metadata=() if given is None else ((calls.REQUEST_ID_KEY, given),))
        await call.code()
        ids.append(dict(await call.trailing_metadata())[calls.REQUEST_ID_KEY])
    assert given not in ids
    assert len(set(ids)) == 2


async def test_the_cap_ends_a_call_without_a_deadline(serve: Serve) -> None:
    """A caller that sets no deadline cannot hold a handler for ever."""
    running = await serve(_wait, grpc_max_deadline_ms=100)
    failure = await failure_of(running.validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED")
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_the_cap_does_not_touch_streams(serve: Serve, past_the_cap: Callable[[], Awaitable[None]]) -> None:
    """A watch lives as long as its caller wants."""

    async def stream(_: Any, __: Any) -> AsyncIterator[Any]:
        await past_the_cap()
        yield notifications_pb2.WatchNotificationsResponse(resume_token="late")

    watch = (await serve(stream=stream)).watch()
    assert (await watch.read()).resume_token == "late"


@pytest.mark.parametrize(("own", "least", "most"), [(None, 9, 10), (5, 4, 5.1), (60, 9, 10)])
async def test_the_time_left_is_the_shorter_of_deadline_and_cap(
    serve: Serve, own: float | None, least: float, most: float
) -> None:
    """What a handler calls in turn never outlives the call itself."""
    left: list[float | None] = []

    async def handler(_: Any, __: Any) -> Any:
        left.append(deadline.remaining())
        left.append(deadline.timeout(1))
        return sessions_pb2.ValidateSessionResponse()

    await (await serve(handler, grpc_max_deadline_ms=10_000)).validate(timeout=own)
    assert left[0] is not None
    assert least < left[0] <= most
    assert left[1] == 1


async def test_a_cancelled_call_cancels_its_handler(log: Log, serve: Serve) -> None:
    """A caller that goes away frees what its call held, and the log says so."""
    started, ended = asyncio.Event(), asyncio.Event()

    async def handler(_: Any, __: Any) -> Any:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = await serve(handler)
    call = running.validate()
    await asyncio.wait_for(started.wait(), PATIENCE_SECONDS)
    call.cancel()
    await asyncio.wait_for(ended.wait(), PATIENCE_SECONDS)
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)
    assert [line["code"] for line in await log.wait_for("rpc")] == ["CANCELLED"]


async def test_work_beyond_the_limit_is_refused_and_health_is_not(serve: Serve) -> None:
    """An overloaded server says so at once and still answers its probes."""
    both, started = asyncio.Event(), itertools.count(1)

    async def hold(_: Any, __: Any) -> Any:
        if next(started) == 2:
            both.set()
        await asyncio.Event().wait()

    running = await serve(hold, grpc_max_in_flight=2)
    held = [running.validate() for _ in range(2)]
    await asyncio.wait_for(both.wait(), PATIENCE_SECONDS)
    failure = await failure_of(running.validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert failure.retry_after
    health: Any = health_pb2_grpc.HealthStub(running.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    for call in held:
        call.cancel()
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_streams_have_a_limit_of_their_own(serve: Serve) -> None:
    """Idle watchers take no room from calls, and are limited themselves."""

    async def stream(_: Any, __: Any) -> AsyncIterator[Any]:
        yield notifications_pb2.WatchNotificationsResponse(resume_token="first")
        await asyncio.Event().wait()

    running = await serve(stream=stream, grpc_max_in_flight=1, grpc_max_streams=1)
    first = running.watch()
    await first.read()
    assert (await failure_of(running.watch().read())).reason == "OVERLOADED"
    await running.validate()
    first.cancel()


async def test_a_line_per_call_and_no_body(log: Log, serve: Serve) -> None:
    """The access log has method, code, time, peer, id and reason, and nothing that was said."""

    async def taken(_: Any, __: Any) -> Any:
        raise EmailTaken

    running = await serve(taken)
    await failure_of(running.validate(token="s" * 43, metadata=((calls.REQUEST_ID_KEY, "abc-2"),)))
    (line,) = await log.wait_for("rpc")
    assert line["method"] == "/vibework.users.v1.SessionService/ValidateSession"
    assert (line["code"], line["reason"], line["request_id"]) == ("ALREADY_EXISTS", "EMAIL_TAKEN", "abc-2")
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert 0 < line["ms"] < 5_000
    assert line["timestamp"].endswith("Z")
    assert "s" * 43 not in log.text


async def test_a_storm_of_cancelled_calls_leaves_nothing_behind(serve: Serve) -> None:
    """Cancelling at every moment of a call neither leaks calls nor breaks those that follow."""

    async def handler(_: Any, __: Any) -> Any:
        await asyncio.sleep(0.002)
        return sessions_pb2.ValidateSessionResponse()

    running = await serve(handler)
    for _ in range(4):
        storm = [running.validate() for _ in range(100)]
        for number, call in enumerate(storm):
            if number % 3:
                await asyncio.sleep(0.0001)
                call.cancel()
        await asyncio.gather(*storm, return_exceptions=True)
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)
    await running.validate()


def records() -> int:
    """Count the records of calls that are in memory."""
    return sum(type(thing) is calls.Call for thing in gc.get_objects())


async def test_a_finished_call_needs_no_garbage_collector(log: Log, serve: Serve) -> None:
    """Records of calls are freed at their end; a cycle through each would pause the server."""
    running = await serve()
    await running.validate()
    gc.collect()
    # Other tests may have left some.
    before = records()
    gc.disable()
    try:
        for _ in range(50):
            await running.validate()
        await running.server.in_flight.wait_idle(PATIENCE_SECONDS)
        alive = records()
    finally:
        gc.enable()
    assert alive - before < 5


async def test_work_that_outlives_its_call_has_no_deadline(serve: Serve) -> None:
    """A task started by a handler is not cut short by the time that its call had."""
    left: list[float | None] = []
    ended = asyncio.Event()

    async def background() -> None:
        await ended.wait()
        left.append(deadline.remaining())

    async def handler(_: Any, __: Any) -> Any:
        tasks.append(asyncio.create_task(background()))
        return sessions_pb2.ValidateSessionResponse()

    tasks: list[asyncio.Task[None]] = []
    running = await serve(handler)
    await running.validate(timeout=PATIENCE_SECONDS)
    await running.server.in_flight.wait_idle(PATIENCE_SECONDS)
    ended.set()
    await tasks[0]
    assert left == [None]


async def test_an_answer_larger_than_a_message_is_told_as_such(log: Log, serve: Serve) -> None:
    """gRPC would fail the call by itself, without a reason, after the log has called it OK."""

    async def huge(_: Any, __: Any) -> Any:
        return sessions_pb2.ValidateSessionResponse(session=sessions_pb2.Session(id="x" * 5_000_000))

    failure = await failure_of((await serve(huge)).validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "ANSWER_TOO_LARGE")
    assert failure.retry_after is None
    assert [line["reason"] for line in await log.wait_for("rpc")] == ["ANSWER_TOO_LARGE"]
