"""A server that ends, and one that comes back, cost the callers of several servers nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import HealthServicer
from grpc_health.v1.health_pb2 import HealthCheckResponse
from vibework.client import ACCEPTING, Users, aio
from vibework.client.errors import CallCancelled, VibeworkError
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.patience import PATIENCE_SECONDS

CALLS_BETWEEN = 100
USER = "usr_1"
PASSWORD = "correct horse battery"


class Answering(grpc.GenericRpcHandler):
    """Answers every call but those of health with an empty message, and counts them."""

    def __init__(self) -> None:
        self.calls = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the same for every method of a service of ours."""
        if details.method.startswith("/grpc.health."):
            return None
        self.calls += 1
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


class Server:
    """A server that can be ended, and begun again at its port."""

    def __init__(self, *, tells_health: bool = False) -> None:
        self.port = free_port()
        self.tells_health = tells_health
        self.begin()

    @property
    def address(self) -> str:
        """Where it is."""
        return f"{LOOPBACK}:{self.port}"

    def begin(self) -> None:
        """Listen."""
        self.answering = Answering()
        self._server = grpc.server(ThreadPoolExecutor(4), handlers=[self.answering])
        if self.tells_health:
            self.health = HealthServicer()
            self.health.set(ACCEPTING, HealthCheckResponse.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self.port = self._server.add_insecure_port(f"{LOOPBACK}:{self.port}")
        self._server.start()

    def end(self) -> None:
        """Let calls end, and take no more."""
        self._server.stop(grace=PATIENCE_SECONDS).wait()


@contextmanager
def two(*, tell_health: bool = False) -> Iterator[tuple[Server, Server]]:
    """Run two servers."""
    servers = Server(tells_health=tell_health), Server(tells_health=tell_health)
    try:
        yield servers
    finally:
        for server in servers:
            server.end()


class Caller:
    """Makes calls that must not be made twice, one after the other, until it is told to stop."""

    def __init__(self) -> None:
        self.made = 0
        self.failed: list[VibeworkError] = []
        self.stopping = self.over = False

    def wait_for(self, calls: int, server: Server | None = None) -> None:
        """Wait until so many more were made, and one of them came to the server that was begun."""
        until, waiting = self.made + calls, threading.Event()
        while not self.failed and (self.made < until or (server is not None and not server.answering.calls)):
            assert not self.over, "the caller has ended"
            waiting.wait(0.001)

    def work(self, addresses: list[str]) -> None:
        """Call by a client that blocks."""
        try:
            with Users.connect(addresses) as users:
                while not self.stopping:
                    with self.noting():
                        users.set_password(user_id=USER, password=PASSWORD)
        finally:
            self.over = True

    async def awork(self, addresses: list[str]) -> None:
        """Call by a client for asyncio."""
        try:
            async with aio.Users.connect(addresses) as users:
                while not self.stopping:
                    with self.noting():
                        await users.set_password(user_id=USER, password=PASSWORD)
        finally:
            self.over = True

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Count a call, and keep what it failed with."""
        try:
            yield
        except CallCancelled:
            # By a bare server that ends at this moment; the services say goodbye first (docs/decisions/0055).
            pass
        except VibeworkError as error:
            self.failed.append(error)
        self.made += 1


def restart_under(caller: Caller, servers: tuple[Server, Server]) -> None:
    """End and begin each of two servers while calls are made."""
    caller.wait_for(CALLS_BETWEEN)
    for server in servers:
        server.end()
        caller.wait_for(CALLS_BETWEEN)
        server.begin()
        caller.wait_for(CALLS_BETWEEN, server)
    caller.stopping = True


def test_servers_that_restart_in_turn_fail_no_call_of_one_that_blocks() -> None:
    """A call that no server has seen goes to another one, also where it must not be made twice."""
    caller = Caller()
    with two() as servers:
        thread = threading.Thread(target=caller.work, args=([server.address for server in servers],))
        thread.start()
        restart_under(caller, servers)
        thread.join()
    assert caller.failed == []


async def test_servers_that_restart_in_turn_fail_no_call_of_asyncio() -> None:
    """The same for asyncio."""
    caller = Caller()
    with two() as servers:
        working = asyncio.create_task(caller.awork([server.address for server in servers]))
        await asyncio.to_thread(restart_under, caller, servers)
        await working
    assert caller.failed == []


def test_a_server_that_begins_to_end_gets_no_more_calls() -> None:
    """It says so before it says goodbye: what came at that moment would be cancelled."""
    with two(tell_health=True) as (ending, other), Users.connect([ending.address, other.address]) as users:
        while not (ending.answering.calls and other.answering.calls):
            users.set_password(user_id=USER, password=PASSWORD)
        ending.health.set(ACCEPTING, HealthCheckResponse.NOT_SERVING)
        # Until the client has heard of it.
        while ending.answering.calls:
            ending.answering.calls = 0
            for _ in range(4):
                users.set_password(user_id=USER, password=PASSWORD)
        for _ in range(CALLS_BETWEEN):
            users.set_password(user_id=USER, password=PASSWORD)
        assert ending.answering.calls == 0
