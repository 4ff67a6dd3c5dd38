"""Calls to another service: what is passed on, what absence means, and when asking stops."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.context import calls, deadline
from chassis.errors import NotFound, Overloaded, Unavailable
from chassis.peers import breaker as breaker_module
from chassis.peers.breaker import CircuitBreaker, CircuitOpen
from chassis.peers.clients import Client, open_channel
from tests.unit.chassis.conftest import Serve

REQUEST = pb.ValidateSessionRequest(session_token="a" * 43)


class OtherAway(Unavailable):
    """The absence of the other service, as a service names it."""

    reason = "USERS_SERVICE_UNAVAILABLE"


class Clock:
    """A clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Put the breaker on a clock of the test's own."""
    made = Clock()
    monkeypatch.setattr(breaker_module, "monotonic", made)
    return made


async def test_deadline_and_request_id_are_passed_on(serve: Serve) -> None:
    """The other service stops when our caller stops waiting, and its log has the same request id."""
    seen: list[tuple[float, str]] = []

    async def handler(_: Any, context: Any) -> Any:
        seen.append((context.time_remaining(), calls.request_id()))
        return pb.ValidateSessionResponse()

    running = await serve(handler)
    stub = pb_grpc.SessionServiceStub(running.channel)
    calls.enter(calls.Call("/a/b", ((calls.REQUEST_ID_KEY, "abc"),)))
    client = Client(timeout=10, unavailable=OtherAway)
    with deadline.within(3):
        await client.call(stub.ValidateSession, REQUEST)
    ((left, identifier),) = seen
    assert 2 < left < 3
    assert identifier == "abc"


async def test_an_absent_service_is_the_named_error_and_opens_the_circuit() -> None:
    """Callers get a domain error; after some failures nothing is sent any more."""
    async with open_channel("127.0.0.1:1") as channel:
        stub = pb_grpc.SessionServiceStub(channel)
        client = Client(timeout=5, unavailable=OtherAway, breaker=CircuitBreaker(failures=2, pause=60))
        for _ in range(2):
            with pytest.raises(OtherAway):
                await client.call(stub.ValidateSession, REQUEST)
        assert client.breaker.is_open
        sent: list[Any] = []
        with pytest.raises(OtherAway):
            await client.call(lambda *_, **__: sent.append(1), REQUEST)  # type: ignore[arg-type]
        assert sent == []


async def test_an_answer_of_the_other_service_is_no_failure(serve: Serve) -> None:
    """NOT_FOUND says the service works: it is handed on and leaves the circuit closed."""

    class Missing(NotFound):
        reason = "USER_NOT_FOUND"

    async def missing(_: Any, __: Any) -> Any:
        raise Missing(None)

    running = await serve(missing)
    stub = pb_grpc.SessionServiceStub(running.channel)
    client = Client(timeout=5, unavailable=OtherAway, breaker=CircuitBreaker(failures=1))
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await client.call(stub.ValidateSession, REQUEST)
    assert not client.breaker.is_open


async def test_a_caller_in_a_hurry_does_not_open_the_circuit(serve: Serve) -> None:
    """Short deadlines of single callers say nothing about the other service."""

    async def slow(_: Any, __: Any) -> Any:
        await asyncio.sleep(5)

    stub = pb_grpc.SessionServiceStub((await serve(slow)).channel)
    client = Client(timeout=5, unavailable=OtherAway, breaker=CircuitBreaker(failures=1))
    with deadline.within(0.05), pytest.raises(OtherAway):
        await client.call(stub.ValidateSession, REQUEST)
    assert not client.breaker.is_open


@pytest.mark.parametrize(
    ("methods", "answered"), [(["vibework.users.v1.SessionService/ValidateSession"], True), ([], False)]
)
async def test_only_idempotent_methods_are_sent_again(serve: Serve, methods: list[str], answered: bool) -> None:
    """UNAVAILABLE is repeated for methods declared idempotent and for no other."""
    attempts: list[int] = []

    async def away_once(_: Any, __: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise OtherAway
        return pb.ValidateSessionResponse()

    running = await serve(away_once)
    async with open_channel(running.server.address, idempotent=methods) as channel:
        stub = pb_grpc.SessionServiceStub(channel)
        client = Client(timeout=5, unavailable=OtherAway)
        if answered:
            await client.call(stub.ValidateSession, REQUEST)
        else:
            with pytest.raises(OtherAway):
                await client.call(stub.ValidateSession, REQUEST)
    assert len(attempts) == (2 if answered else 1)


async def test_an_overloaded_service_counts_as_away(serve: Serve) -> None:
    """A service that sheds load is left alone for a while."""

    async def shed(_: Any, __: Any) -> Any:
        raise Overloaded

    stub = pb_grpc.SessionServiceStub((await serve(shed)).channel)
    client = Client(timeout=5, unavailable=OtherAway, breaker=CircuitBreaker(failures=1))
    with pytest.raises(OtherAway):
        await client.call(stub.ValidateSession, REQUEST)
    assert client.breaker.is_open


def test_a_circuit_probes_with_one_call_after_its_pause(clock: Clock) -> None:
    """After the pause one call passes; its success closes the circuit for all."""
    circuit = CircuitBreaker(failures=2, pause=5)
    circuit.failed()
    circuit.failed()
    with pytest.raises(CircuitOpen):
        circuit.before()
    clock.now += 5
    circuit.before()
    with pytest.raises(CircuitOpen):
        circuit.before()
    circuit.succeeded()
    circuit.before()


def test_a_failed_or_lost_probe_opens_the_circuit_again(clock: Clock) -> None:
    """A probe that fails starts another pause, and one that never ends blocks nobody for longer than that."""
    circuit = CircuitBreaker(failures=1, pause=5)
    circuit.failed()
    clock.now += 5
    circuit.before()
    circuit.failed()
    with pytest.raises(CircuitOpen):
        circuit.before()
    clock.now += 5
    circuit.before()
    clock.now += 5
    circuit.before()
