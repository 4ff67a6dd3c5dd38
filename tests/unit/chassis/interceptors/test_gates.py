"""Gates, seen from a caller: what they refuse costs no decoding, is told like any error, and frees its place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as sessions_pb2

from chassis.context import calls
from chassis.context.calls import Call
from chassis.errors import PermissionDenied
from chassis.interceptors import Method
from chassis.interceptors.gates import GateCheck
from chassis.interceptors.validation import check_of
from chassis.serving import registration
from chassis.serving.registration import Composer
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Log, Running, Serve, failure_of
from tests.unit.chassis.raw_connection import VALIDATE, WATCH, connected

Made = Callable[[Running], Awaitable[Any]]
# A unary method and a stream: each as its name and as a call of it.
METHODS: list[Any] = [
    pytest.param(VALIDATE.decode(), lambda running: running.validate(), id="unary"),
    pytest.param(WATCH.decode(), lambda running: running.watch().read(), id="stream"),
]


class Forbidden(PermissionDenied):
    """What the gates of these tests refuse with."""

    reason = "CALLER_FORBIDDEN"


def refusing(_: Method) -> GateCheck:
    """Refuse every call of every method."""

    def check(_: Call) -> None:
        raise Forbidden

    return check


def noting(function: Callable[[Any], Any], seen: list[Any]) -> Callable[[Any], Any]:
    """Return a function that does the same and notes what it was called with."""

    def noted(argument: Any) -> Any:
        seen.append(argument)
        return function(argument)

    return noted


@dataclass
class Work:
    """What was done with messages: one entry for each."""

    decoded: list[bytes] = field(default_factory=list)
    validated: list[Any] = field(default_factory=list)

    @property
    def done(self) -> tuple[int, int]:
        """Return how many messages were decoded, and how many validated."""
        return len(self.decoded), len(self.validated)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Count what servers that are built from now on decode and validate."""
    found, prepare = Work(), Composer.prepare

    monkeypatch.setattr(Composer, "prepare", lambda self, decode: prepare(self, noting(decode, found.decoded)))
    monkeypatch.setattr(registration, "check_of", lambda kind: noting(check_of(kind), found.validated))
    return found


@pytest.mark.parametrize(("method", "call"), METHODS)
async def test_a_refused_call_is_neither_decoded_nor_validated(
    log: Log, serve: Serve, work: Work, method: str, call: Made
) -> None:
    """What a gate refuses costs nothing further in, arrives with code and reason, and leaves one line in the log."""
    running = await serve(gates=(refusing,))
    work.decoded.clear()  # the server has tried its decoders when it was built
    failure = await failure_of(call(running))
    assert (failure.code, failure.reason) == (grpc.StatusCode.PERMISSION_DENIED, "CALLER_FORBIDDEN")
    assert work.done == (0, 0)
    lines = await log.wait_for("rpc")
    assert [(line["method"], line["code"], line["reason"]) for line in lines] == [
        (method, "PERMISSION_DENIED", "CALLER_FORBIDDEN")
    ]


@pytest.mark.parametrize(("method", "call"), METHODS)
async def test_a_call_that_passes_is_decoded_and_validated_once(
    serve: Serve, work: Work, method: str, call: Made
) -> None:
    """The count by which refused calls are judged does count."""
    passed: list[str] = []
    running = await serve(gates=(lambda _: lambda call: passed.append(call.method),))
    work.decoded.clear()
    await call(running)
    assert (passed, work.done) == ([method], (1, 1))


@pytest.mark.parametrize(("method", "call"), METHODS)
async def test_a_refused_call_frees_its_place(serve: Serve, method: str, call: Made) -> None:
    """However many calls a gate refuses, none of them takes room from those that it lets pass."""
    refused = [True] * 5

    def check(_: Call) -> None:
        if refused:
            refused.pop()
            raise Forbidden

    running = await serve(gates=(lambda _: check,), grpc_max_in_flight=1, grpc_max_streams=1)
    for _ in range(5):
        assert (await failure_of(call(running))).reason == "CALLER_FORBIDDEN"
        assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)
    await call(running)


@pytest.mark.parametrize("path", [VALIDATE, WATCH])
async def test_a_call_is_refused_before_its_message_has_come(serve: Serve, path: bytes) -> None:
    """A gate needs the headers alone: whoever may not call is told at once, and holds no place by saying nothing."""
    running = await serve(gates=(refusing,))
    async with connected(running.server.port) as connection:
        answer = await asyncio.wait_for(connection.answer(connection.call(path)), PATIENCE_SECONDS)
    assert answer["grpc-status"] == str(grpc.StatusCode.PERMISSION_DENIED.value[0])
    assert await running.server.in_flight.wait_idle(PATIENCE_SECONDS)


async def test_a_gate_is_asked_once_for_each_method(serve: Serve) -> None:
    """A gate decides when the server is built what a method needs; one without a check is reached as without gates."""
    asked: list[Method] = []

    def watches_only(method: Method) -> GateCheck | None:
        asked.append(method)
        return refusing(method) if method.streaming else None

    running = await serve(gates=(watches_only,))
    assert Method(VALIDATE.decode()) in asked
    assert Method(WATCH.decode(), streaming=True) in asked
    bound = len(asked)
    await running.validate()
    assert (await failure_of(running.watch().read())).reason == "CALLER_FORBIDDEN"
    assert len(asked) == bound == len(set(asked))


async def test_gates_stand_in_order_behind_admission(serve: Serve) -> None:
    """A later gate sees what an earlier one found out, such as the caller; beyond the limit neither is asked."""
    seen: list[Any] = []
    inside = asyncio.Event()

    def knowing(call: Call) -> None:
        assert call.caller is None
        call.caller = "ada"

    async def hold(_: Any, __: Any) -> Any:
        call = calls.current()
        seen.append(call and call.caller)
        inside.set()
        await asyncio.Event().wait()

    gates = (lambda _: knowing, lambda _: lambda call: seen.append(call.caller))
    running = await serve(hold, gates=gates, grpc_max_in_flight=1)
    held = running.validate()
    await asyncio.wait_for(inside.wait(), PATIENCE_SECONDS)
    assert (await failure_of(running.validate())).reason == "OVERLOADED"
    assert seen == ["ada", "ada"]
    held.cancel()


async def test_a_gate_with_a_defect_refuses(serve: Serve) -> None:
    """What fails to say whether a call may pass has not let it pass, and its text stays inside."""
    reached: list[Any] = []

    async def handler(request: Any, _: Any) -> Any:
        reached.append(request)
        return sessions_pb2.ValidateSessionResponse()

    def broken(_: Call) -> None:
        raise KeyError("a secret")

    failure = await failure_of((await serve(handler, gates=(lambda _: broken,))).validate())
    assert (failure.code, failure.reason) == (grpc.StatusCode.INTERNAL, "INTERNAL")
    assert "secret" not in failure.message
    assert reached == []
