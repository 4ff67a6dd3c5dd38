"""Bursts: as many calls at once as a connection may make are served or refused with a reason, and harm nobody else."""

from __future__ import annotations

import asyncio
from collections import Counter

import grpc
import pytest
from vibework.users.v1 import session_service_pb2 as pb

from chassis.serving import listeners
from tests.bench import http2
from tests.bench.http2 import Code, Kind
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import TOKEN, Serve
from tests.unit.chassis.raw_connection import VALIDATE, connected

REQUEST = pb.ValidateSessionRequest(session_token=TOKEN).SerializeToString()
OK, RESOURCE_EXHAUSTED = "0", "8"
CALLS = 1_900


async def test_a_burst_over_one_connection_is_answered(serve: Serve) -> None:
    """None is CANCELLED, which its caller never asked for: each is served, or told OVERLOADED."""
    running = await serve()
    async with connected(running.server.port) as connection, asyncio.timeout(PATIENCE_SECONDS):
        streams = [connection.call(VALIDATE, message=REQUEST) for _ in range(CALLS)]
        codes = Counter([(await connection.answer(stream)).get("grpc-status") for stream in streams])
    assert set(codes) <= {OK, RESOURCE_EXHAUSTED}
    assert codes.total() == CALLS


async def test_calls_that_are_taken_back_at_once_cancel_no_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A flood of them (CVE-2023-44487) makes others wait, who reach the same listener, and no more than that."""
    monkeypatch.setattr(listeners, "LISTENERS", 1)
    running = await serve()
    async with connected(running.server.port) as connection:
        for _ in range(4_000):
            stream = connection.call(VALIDATE, message=REQUEST)
            connection.send(http2.frame(Kind.RST_STREAM, 0, stream, http2.number(Code.CANCEL)))
        # The flood is on its way before these are.
        await asyncio.sleep(0)
        answers = await asyncio.gather(
            *(asyncio.wait_for(running.validate(), PATIENCE_SECONDS) for _ in range(20)), return_exceptions=True
        )
    failed = [answer.code() if isinstance(answer, grpc.aio.AioRpcError) else answer for answer in answers]
    assert [code for code in failed if isinstance(code, (BaseException, grpc.StatusCode))] == []
