"""The load generator's own client of gRPC, against gRPC's own server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import hpack
import pytest

from tests.bench import http2, trailers
from tests.bench.connection import RECEIVE_WINDOW, CallFailed
from tests.bench.http2 import Kind
from tests.bench.load import Job, run
from tests.bench.unary import Client, GrpcCaller, message
from tests.harness.patience import PATIENCE_SECONDS

Handler = Callable[[bytes, Any], Awaitable[bytes]]
METHOD = "/bench.Test/Call"
REQUEST_ID = ("x-request-id", "0123456789abcdef")


@asynccontextmanager
async def served(handler: Handler, *options: tuple[str, int]) -> AsyncIterator[tuple[str, grpc.aio.Server]]:
    """Serve one method; yields the address."""
    server = grpc.aio.server(options=options)
    method: Any = grpc.unary_unary_rpc_method_handler(handler)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Test", {"Call": method}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", server
    finally:
        await server.stop(0)


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[str]:
    """Serve a connection with each of these, behind a request that ends with "wanted"; yields the address."""
    waiting, connections = list(answers), asyncio.Semaphore(0)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"wanted")
        writer.write(waiting.pop(0))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        connections.release()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in answers:
                await connections.acquire()


def answered(stream: int, body: bytes, prefix: bytes | None = None) -> bytes:
    """Return the frames of an answer whose status is OK."""
    ok = hpack.Encoder().encode([(":status", "200"), ("grpc-status", "0")])
    data = (message(body)[:5] if prefix is None else prefix) + body
    return http2.frame(Kind.DATA, 0, stream, data) + http2.frame(Kind.HEADERS, 5, stream, ok)


@asynccontextmanager
async def calling(
    address: str, method: str = METHOD, seconds: float = 10.0, connections: int = 1
) -> AsyncIterator[Client]:
    """Connect a client."""
    client = Client(address, method, seconds)
    await client.open(connections)
    try:
        yield client
    finally:
        client.close()


async def echo(request: bytes, context: Any) -> bytes:
    """Answer with the request, twice."""
    context.set_trailing_metadata((REQUEST_ID,))
    return request * 2


async def test_each_call_gets_its_own_answer() -> None:
    """Answers of many calls at a time, over several connections, are not mixed up; an empty message is one, too."""
    async with served(echo) as (address, _), calling(address, connections=3) as client:
        requests = [b"%d" % number * (number % 50) for number in range(500)]
        assert await asyncio.gather(*(client.call(message(one)) for one in requests)) == [one * 2 for one in requests]


async def test_an_error_has_its_status_and_message() -> None:
    """A refusal is no success, and says what it was; the calls after it are not disturbed."""

    async def refuse(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((REQUEST_ID, ("details-bin", b"\x00\xff" * 9_000)))
        if request:
            await context.abort(grpc.StatusCode.NOT_FOUND, "100 % näin")
        return b""

    async with served(refuse) as (address, _), calling(address) as client:
        for _ in range(3):
            with pytest.raises(CallFailed, match="NOT_FOUND: 100 % näin"):
                await client.call(message(b"x"))
            assert await client.call(message(b"")) == b""


async def test_a_method_that_is_not_served() -> None:
    """An answer that consists of headers alone is an error, too."""
    async with served(echo) as (address, _), calling(address, "/bench.Test/Other") as client:
        with pytest.raises(CallFailed, match="UNIMPLEMENTED"):
            await client.call(message(b""))


async def test_the_server_hears_of_the_deadline() -> None:
    """A call that takes too long ends, and the connection goes on."""

    async def wait(request: bytes, context: Any) -> bytes:
        await asyncio.sleep(float(request))
        return b"%.1f" % context.time_remaining()

    async with served(wait) as (address, _), calling(address, seconds=2.0) as client:
        assert 1 < float(await client.call(message(b"0"))) <= 2
        late = client.call(message(b"30"))
        with pytest.raises(CallFailed, match="DEADLINE_EXCEEDED"):
            await asyncio.wait_for(late, PATIENCE_SECONDS)
        assert await client.call(message(b"0"))


async def test_a_server_that_says_nothing_is_given_up() -> None:
    """The deadline holds without the server's help."""
    async with scripted(b"") as address, calling(address, seconds=0.2) as client:
        with pytest.raises(CallFailed, match="DEADLINE_EXCEEDED: no answer in time"):
            await asyncio.wait_for(client.call(message(b"wanted")), PATIENCE_SECONDS)


async def test_answers_larger_than_the_window() -> None:
    """The server is told that there is room again, as often as needed."""

    async def large(request: bytes, _: Any) -> bytes:
        return request * 3_000_000

    async with served(large) as (address, _), calling(address) as client:
        answers = await asyncio.gather(*(client.call(message(b"%d" % number)) for number in range(5)))
    assert sum(map(len, answers)) > 2 * RECEIVE_WINDOW
    assert answers == [b"%d" % number * 3_000_000 for number in range(5)]


async def test_more_than_the_server_takes_at_a_time() -> None:
    """Calls wait for a stream, and for room in the server's window, instead of failing."""

    async def slow(request: bytes, _: Any) -> bytes:
        await asyncio.sleep(0.001)
        return request[:5]

    limits = ("grpc.max_concurrent_streams", 3), ("grpc.http2.lookahead_bytes", 1_024)
    async with served(slow, *limits) as (address, _), calling(address) as client:
        assert await client.call(message(b"first")) == b"first"
        calls = [client.call(message(b"%05d" % number + bytes(16_000))) for number in range(100)]
        assert await asyncio.gather(*calls) == [b"%05d" % number for number in range(100)]


async def test_connections_that_the_server_ends_under_load() -> None:
    """Connections of an age that is limited are replaced, and no call fails or is counted twice for it."""
    begun, peers = 0, set()

    async def count(request: bytes, context: Any) -> bytes:
        nonlocal begun
        begun += 1
        peers.add(context.peer())
        await asyncio.sleep(0.005)
        return request

    age = ("grpc.max_connection_age_ms", 150), ("grpc.max_connection_age_grace_ms", 2_000)
    async with served(count, *age) as (address, _):
        job = Job(GrpcCaller(address, METHOD, [b"a", b"bc"], connections=2), in_flight=8, seconds=1.0)
        sample = await asyncio.to_thread(run, job)
    assert (sample.errors, sample.error) == (0, "")
    assert sample.all_calls == begun > sample.calls > 0
    # More than were opened, so some were replaced.
    assert len(peers) > 2


async def test_what_the_server_counts_is_what_is_told() -> None:
    """Successes and failures of a load add up to the calls that the server has had."""
    begun = failed = 0

    async def every_third_fails(request: bytes, context: Any) -> bytes:
        nonlocal begun, failed
        begun += 1
        if begun % 3 == 0:
            failed += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "every third")
        return request

    async with served(every_third_fails) as (address, _):
        job = Job(GrpcCaller(address, METHOD, [b"a"], connections=2), in_flight=8, seconds=1.0)
        sample = await asyncio.to_thread(run, job)
    assert (sample.all_calls, sample.errors) == (begun - failed, failed)
    assert failed > 0
    assert "RESOURCE_EXHAUSTED: every third" in sample.error


async def test_a_server_that_goes_away_and_comes_back() -> None:
    """Calls in flight are lost with the connection, those to nobody are refused, and then it goes on."""

    async def forever(request: bytes, _: Any) -> bytes:
        await asyncio.sleep(30)
        return request

    async with served(forever) as (address, server), calling(address) as client:
        lost = client.call(message(b""))
        await asyncio.sleep(0.05)
        await server.stop(0)
        with pytest.raises(CallFailed, match=r"UNAVAILABLE|CANCELLED"):
            await asyncio.wait_for(lost, PATIENCE_SECONDS)
        with pytest.raises(CallFailed, match="UNAVAILABLE: cannot connect"):
            await asyncio.wait_for(client.call(message(b"")), PATIENCE_SECONDS)
        again = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        method: Any = grpc.unary_unary_rpc_method_handler(echo)
        again.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Test", {"Call": method}),))
        again.add_insecure_port(address)
        await again.start()
        await asyncio.sleep(0.3)
        assert await client.call(message(b"x")) == b"xx"
        await again.stop(0)


async def test_streams_that_run_out() -> None:
    """After the last number of a stream, a new connection goes on."""
    async with served(echo) as (address, _), calling(address) as client:
        client._connections[0].next_stream = http2.MAX_STREAM_ID - 4
        calls = [client.call(message(b"%d" % number)) for number in range(8)]
        assert await asyncio.gather(*calls) == [b"%d" % number * 2 for number in range(8)]


@pytest.mark.parametrize("body", [b"", b"\0\0\0\0\x09half", b"\1\0\0\0\4zip?", bytes(10)])
async def test_an_answer_that_is_cut_short_is_no_success(body: bytes) -> None:
    """A status of OK behind half a message, or none, does not count."""
    async with scripted(answered(1, body, prefix=b"")) as address, calling(address) as client:
        with pytest.raises(CallFailed, match="not one whole message"):
            await asyncio.wait_for(client.call(message(b"wanted")), PATIENCE_SECONDS)


async def test_calls_that_the_server_has_not_begun_with() -> None:
    """They are sent again, on the same connection where one stream was refused, on another where it ends."""
    refused = http2.frame(Kind.RST_STREAM, 0, 1, http2.number(http2.Code.REFUSED_STREAM)) + answered(3, b"again")
    for answers in ((refused,), (http2.frame(Kind.GOAWAY, 0, 0, bytes(8)), answered(1, b"again"))):
        async with scripted(*answers) as address, calling(address) as client:
            assert await asyncio.wait_for(client.call(message(b"wanted")), PATIENCE_SECONDS) == b"again"


async def test_trailers_in_several_frames() -> None:
    """A block that continues in a second frame is one block."""
    block = hpack.Encoder().encode([(":status", "200"), ("grpc-status", "5"), ("grpc-message", "none")])
    answer = http2.frame(Kind.HEADERS, http2.END_STREAM, 1, block[:9])
    answer += http2.frame(Kind.CONTINUATION, http2.END_HEADERS, 1, block[9:])
    async with scripted(answer) as address, calling(address) as client:
        with pytest.raises(CallFailed, match="NOT_FOUND: none"):
            await asyncio.wait_for(client.call(message(b"wanted")), PATIENCE_SECONDS)


def test_a_request_that_is_too_long_is_refused() -> None:
    """What would take several frames is not sent as one."""
    with pytest.raises(ValueError, match="more than one frame"):
        message(bytes(http2.MAX_FRAME_BYTES))


def test_a_status_in_any_form() -> None:
    """OK is found where it is not the first header, and a block without a status is an error."""
    encode = hpack.Encoder().encode
    assert trailers.failure(encode([("x-request-id", "1"), ("grpc-status", "0")])) == ""
    assert trailers.failure(b"\x40\x0bgrpc-status\x0214") == "UNAVAILABLE: "
    assert trailers.failure(b"\x40\x0bgrpc-status\x0299") == "UNKNOWN: HTTP status None, gRPC status 99"
    assert (
        trailers.failure(hpack.Encoder().encode([(":status", "503")]))
        == "UNKNOWN: HTTP status 503, gRPC status missing"
    )
    with pytest.raises(hpack.HPACKError):
        trailers.failure(b"\xbe")  # a reference into a table that has no room
