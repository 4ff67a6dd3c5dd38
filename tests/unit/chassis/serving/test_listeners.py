"""Several listeners on one port: calls accepted together, a port that is ours alone, an end that all share."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.serving import ports
from chassis.serving.listeners import LISTENERS
from chassis.serving.transports import PortTaken
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import TOKEN, Serve

CALLERS = 2 * LISTENERS
# Without it, channels to the same address share a connection.
OF_ITS_OWN = [("grpc.use_local_subchannel_pool", 1)]
REQUEST = pb.ValidateSessionRequest(session_token=TOKEN)


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


HOSTS = [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")]  # noqa: S104
if _has_ipv6():
    HOSTS += [("[::1]", "[::1]"), ("::1", "[::1]")]
    HOSTS += [(host, dialled) for host in ("[::]", "::") for dialled in ("[::1]", "127.0.0.1")]


class Callers:
    """Callers with a connection each, in threads of their own."""

    def __init__(self, address: str, resources: ExitStack) -> None:
        self._threads = resources.enter_context(ThreadPoolExecutor(CALLERS))
        self._channels = [resources.enter_context(grpc.insecure_channel(address, OF_ITS_OWN)) for _ in range(CALLERS)]

    async def connect(self) -> None:
        """Wait until all are connected."""
        ready = [grpc.channel_ready_future(channel) for channel in self._channels]
        await asyncio.gather(*(asyncio.to_thread(future.result, PATIENCE_SECONDS) for future in ready))

    def call(self) -> list[Future[Any]]:
        """Have each make a call."""
        stubs = [pb_grpc.SessionServiceStub(channel) for channel in self._channels]
        return [self._threads.submit(stub.ValidateSession, REQUEST, timeout=PATIENCE_SECONDS) for stub in stubs]


@pytest.fixture
def resources() -> Iterator[ExitStack]:
    """Close what the test has opened."""
    with ExitStack() as stack:
        yield stack


async def test_calls_of_several_connections_are_accepted_together(serve: Serve, resources: ExitStack) -> None:
    """A crowd does not get in one call at a time, each in a turn of the event loop of its own."""
    turn = 0
    begun: list[int] = []

    async def note(_: Any, __: Any) -> Any:
        begun.append(turn)
        return pb.ValidateSessionResponse()

    async def count_turns() -> None:
        nonlocal turn
        while True:
            turn += 1
            await asyncio.sleep(0)

    running = await serve(note)
    callers = Callers(running.server.address, resources)
    await callers.connect()
    counting = asyncio.create_task(count_turns())
    # As many as there are listeners with connections: of 32 connections to 16, seldom fewer than 11. A busy machine may
    # not have sent them all by then; where each takes a turn of its own, they never come together.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while max(Counter(begun).values(), default=0) <= LISTENERS // 4:
            begun.clear()
            calls = callers.call()
            # The event loop is busy while all of them arrive.
            time.sleep(0.5)  # noqa: ASYNC251
            await asyncio.gather(*map(asyncio.wrap_future, calls))
    counting.cancel()


async def test_the_stop_waits_for_the_calls_of_all_connections(serve: Serve, resources: ExitStack) -> None:
    """The grace holds for each listener, and no call that had begun is lost."""
    begun, proceed = asyncio.Semaphore(0), asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        begun.release()
        await proceed.wait()
        return pb.ValidateSessionResponse()

    running = await serve(hold)
    callers = Callers(running.server.address, resources)
    await callers.connect()
    calls = callers.call()
    for _ in calls:
        await asyncio.wait_for(begun.acquire(), PATIENCE_SECONDS)
    stopping = asyncio.create_task(running.server.stop(10.0))
    await asyncio.sleep(0.05)
    proceed.set()
    await asyncio.gather(stopping, *map(asyncio.wrap_future, calls))


async def test_a_port_in_use_is_refused(serve: Serve) -> None:
    """A second server does not take half of the first one's connections, though the listeners of each share a port."""
    running = await serve()
    with pytest.raises(PortTaken, match=f"cannot listen on {running.server.address}: the port is taken or not ours"):
        await serve(grpc_port=running.server.port)
    await running.validate()


async def test_a_port_is_shared_where_that_is_asked_for(serve: Serve) -> None:
    """Worker processes serve on one port beside each other."""
    first = await serve(grpc_so_reuseport=True)
    second = await serve(grpc_so_reuseport=True, grpc_port=first.server.port)
    assert second.server.port == first.server.port


@pytest.mark.parametrize(("host", "dialled"), HOSTS)
async def test_every_form_of_an_address_can_be_served(serve: Serve, host: str, dialled: str) -> None:
    """A host name, all addresses and IPv6 work as gRPC has them."""
    running = await serve(grpc_host=host)
    async with grpc.aio.insecure_channel(f"{dialled}:{running.server.port}") as channel:
        await pb_grpc.SessionServiceStub(channel).ValidateSession(REQUEST, timeout=PATIENCE_SECONDS)


async def test_whatever_a_caller_takes_the_server_for_is_served(serve: Serve) -> None:
    """Of a list of addresses gRPC makes an ``:authority`` that is none."""
    running = await serve()
    async with grpc.aio.insecure_channel(f"ipv4:{running.server.address},{running.server.address}") as channel:
        await pb_grpc.SessionServiceStub(channel).ValidateSession(REQUEST, timeout=PATIENCE_SECONDS)


def test_a_port_that_others_share_is_not_ours() -> None:
    """SO_REUSEPORT on both sides is no way around a port that somebody serves on."""
    with (
        closing(socket.create_server(("127.0.0.1", 0), reuse_port=True)) as theirs,
        pytest.raises(OSError, match="in use"),
    ):
        ports.reserve("127.0.0.1", theirs.getsockname()[1])
