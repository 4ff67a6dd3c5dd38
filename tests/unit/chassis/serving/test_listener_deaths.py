"""Listeners that die: none by a path, others replaced, and the end of the process where that fails."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.serving import listeners, method_names
from chassis.serving.listeners import LISTENERS
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Log, Running, Serve
from tests.unit.chassis.deaths import die_at_the_next_call
from tests.unit.chassis.raw_connection import connected

NOT_UTF8 = [
    b"/\xff",
    b"\xff",
    b"/caf\xe9/Get",
    b"/\xed\xa0\x80/\xc3",
    b"/vibework.users.v1.SessionService/Validate\xc0\xaf",
]
# Without it, a channel shares the connections of others to the same address.
OF_ITS_OWN = [("grpc.use_local_subchannel_pool", 1)]
REQUEST = pb.ValidateSessionRequest(session_token="a" * 43)


async def _call(running: Running) -> None:
    """Make a call over a connection of its own."""
    async with grpc.aio.insecure_channel(running.server.address, OF_ITS_OWN) as channel:
        await pb_grpc.SessionServiceStub(channel).ValidateSession(REQUEST, timeout=PATIENCE_SECONDS)


async def _kill_one(running: Running) -> None:
    """Have one of the listeners die."""
    before = running.server.listener_restarts
    die_at_the_next_call()
    with pytest.raises(grpc.aio.AioRpcError):
        await _call(running)
    await _restarts(running, before + 1)


async def _restarts(running: Running, number: int) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while running.server.listener_restarts < number:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("path", NOT_UTF8)
async def test_a_path_that_is_no_utf8_is_an_unknown_method(serve: Serve, path: bytes) -> None:
    """A name that cannot be read is answered like any other that nobody knows, and ends no listener."""
    running = await serve()
    async with connected(running.server.port) as connection:
        answer = await asyncio.wait_for(connection.answer(connection.call(path)), PATIENCE_SECONDS)
    assert (answer["grpc-status"], answer["grpc-message"]) == ("12", "unknown method")
    await asyncio.sleep(2 * listeners.LOOK_SECONDS)
    assert running.server.listener_restarts == 0


def test_other_code_meets_the_errors_of_text_as_ever() -> None:
    """Only gRPC's accept loop reads what is no UTF-8: everything else still raises, in tasks and outside of them."""
    method_names.tolerate()
    attempts: list[Callable[[], object]] = [
        b"\xff".decode,
        "\ud800".encode,
        lambda: str(b"\xff", "ascii"),
        lambda: "é".encode("ascii"),
    ]

    async def in_a_task() -> None:
        for attempt in attempts:
            with pytest.raises(UnicodeError, match=r"can't (de|en)code"):
                attempt()

    asyncio.run(in_a_task())
    for attempt in attempts:
        with pytest.raises(UnicodeError):
            attempt()


@pytest.fixture
def undefended() -> Iterator[None]:
    """Have paths decoded as gRPC does without us, so that one that is no UTF-8 ends the listener that it reaches."""
    yield
    method_names.tolerate()


@pytest.mark.usefixtures("undefended")
@pytest.mark.parametrize("deaths", [LISTENERS, pytest.param(5 * LISTENERS, marks=pytest.mark.long)])
async def test_a_flood_that_kills_listeners_leaves_the_port_open(serve: Serve, deaths: int) -> None:
    """Whoever ends listeners one after the other keeps nobody from calling."""
    running = await serve()
    codecs.register_error("strict", codecs.strict_errors)
    async with asyncio.timeout(PATIENCE_SECONDS):
        # By the deaths and not by the connections: the kernel may bring several of them to one listener.
        while running.server.listener_restarts < deaths:
            try:
                async with connected(running.server.port) as connection:
                    connection.call(b"/\xff")
                    await asyncio.sleep(0)
            except ConnectionError:  # all of them are dead at this moment
                await asyncio.sleep(listeners.LOOK_SECONDS / 4)
    # Once the last is replaced, nobody is refused.
    replaced = -1
    while replaced != running.server.listener_restarts:
        replaced = running.server.listener_restarts
        await asyncio.sleep(3 * listeners.LOOK_SECONDS)
    for _ in range(3 * LISTENERS):
        await _call(running)


@pytest.mark.parametrize("sharing", [False, True])
async def test_a_listener_that_dies_is_replaced(log: Log, serve: Serve, sharing: bool) -> None:
    """Whatever its accept loop fails with, another one takes its place on the port, and the log says so in one line."""
    running = await serve(grpc_so_reuseport=sharing)
    for _ in range(3):
        await _kill_one(running)
    for _ in range(2 * LISTENERS):
        await _call(running)
    lines = await log.wait_for("a listener died; another one took its place")
    assert [line["cause"] for line in lines] == ["MemoryError"] * 3
    assert "the secret" not in log.text
    assert not running.server.failed.is_set()


async def test_calls_in_flight_outlive_their_listener(serve: Serve) -> None:
    """The death of a listener, which a stranger may cause, costs others at most a new connection."""
    begun, proceed = asyncio.Event(), asyncio.Event()

    async def hold(_: Any, __: Any) -> Any:
        begun.set()
        await proceed.wait()
        return pb.ValidateSessionResponse()

    async def events(_: Any, __: Any) -> AsyncIterator[Any]:
        yield notifications_pb2.WatchNotificationsResponse(resume_token="first")
        await proceed.wait()
        yield notifications_pb2.WatchNotificationsResponse(resume_token="second")

    running = await serve(hold, events)
    watch, held = running.watch(), running.validate()
    assert (await watch.read()).resume_token == "first"
    await begun.wait()
    # The call that kills goes over the same connection, so it reaches the same listener.
    die_at_the_next_call()
    with pytest.raises(grpc.aio.AioRpcError):
        await running.validate(timeout=PATIENCE_SECONDS)
    await _restarts(running, 1)
    proceed.set()
    await held
    assert (await watch.read()).resume_token == "second"
    # And the channel finds its way to one that lives.
    await running.validate(timeout=PATIENCE_SECONDS)


async def test_what_cannot_be_replaced_is_told(log: Log, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot come back to its port says so, and its process ends by that."""
    monkeypatch.setattr(listeners, "LOOK_SECONDS", 0.01)
    running = await serve()

    def refuse(*_: object) -> int:
        raise RuntimeError("Failed to bind to address")

    monkeypatch.setattr(listeners.Listeners, "_bind", refuse)
    die_at_the_next_call()
    with pytest.raises(grpc.aio.AioRpcError):
        await _call(running)
    await asyncio.wait_for(running.server.failed.wait(), PATIENCE_SECONDS)
    assert len(await log.wait_for("a listener died and cannot be replaced")) == listeners.GIVE_UP_AFTER
    assert await log.wait_for("listeners that died cannot be replaced; giving up")


async def test_a_stop_beside_a_death_ends(serve: Serve) -> None:
    """The end of the server waits neither for a listener that has just died nor for one half started."""
    for pause in (0.0, 0.05, listeners.LOOK_SECONDS):
        running = await serve()
        die_at_the_next_call()
        with pytest.raises(grpc.aio.AioRpcError):
            await _call(running)
        await asyncio.sleep(pause)
        await asyncio.wait_for(running.server.stop(0.2), PATIENCE_SECONDS)
