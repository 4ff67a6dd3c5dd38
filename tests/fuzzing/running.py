"""Sends cases, many at a time, and keeps what came of them."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import grpc

from tests.contract.fieldpaths import method_of
from tests.fuzzing import judging, rows
from tests.fuzzing.cases import Attacked, Case, attack, case
from tests.fuzzing.judging import OPEN, Answer
from tests.fuzzing.services import Running
from tests.harness.patience import PATIENCE_SECONDS

IN_FLIGHT: Final = 48
CHANNELS: Final = 2
# Cases that share rows, after which others are made.
OF_ROWS: Final = 500
# For a stream's first message: an error comes at once, an event may never.
STREAM_SECONDS: Final = 0.3
SLOWEST: Final = 5


@dataclass
class Results:
    """What came of the cases: how many ended how, by mutation; what must not be; which took longest."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    rpcs: Counter[tuple[str, bool]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest: list[tuple[float, int, str]] = field(default_factory=list)
    disclosed: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def cases(self) -> int:
        """How many there were."""
        return self.ended.total()

    def add(self, sent: Case | Attacked, answer: Answer, seconds: float) -> None:
        """Take in how a case ended."""
        self.ended[sent.mutation, answer.code] += 1
        self.reasons[answer.reason or answer.code] += 1
        self.rpcs[sent.rpc, answer.code in {"OK", OPEN}] += 1
        if answer.problem:
            self.problems.append(f"{answer.problem}\n    {sent}")
        heapq.heappush(self.slowest, (seconds, sent.number, f"{sent.rpc}, {sent.mutation}, {answer.code}"))
        if len(self.slowest) > SLOWEST:
            heapq.heappop(self.slowest)


class Callers:
    """Channels to both services."""

    def __init__(self, users: Sequence[grpc.aio.Channel], notifications: Sequence[grpc.aio.Channel]) -> None:
        self.users, self.notifications = users, notifications

    def of(self, rpc: str, number: int) -> grpc.aio.Channel:
        """Return one of those to the service that has an RPC, `package.Service/Method`."""
        channels = self.users if rpc.startswith("vibework.users.") else self.notifications
        return channels[number % len(channels)]


@asynccontextmanager
async def callers(running: Running) -> AsyncIterator[Callers]:
    """Open the channels."""
    options = [
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", 1 << 20),
    ]
    async with AsyncExitStack() as stack:
        users, notifications = [
            [
                await stack.enter_async_context(grpc.aio.insecure_channel(service.side.address, options=options))
                for _ in range(CHANNELS)
            ]
            for service in running.services
        ]
        yield Callers(users, notifications)


async def run(running: Running, numbers: Sequence[int], seed: int, results: Results) -> None:
    """Send the cases of these numbers."""
    begun = time.monotonic()
    async with callers(running) as channels:
        for start in range(0, len(numbers), OF_ROWS):
            part = numbers[start : start + OF_ROWS]
            there = await rows.make(channels.users[0], channels.notifications[0], f"{seed}-{part[0]}")
            results.disclosed |= there.secrets
            todo = iter([attack(seed, number) or case(seed, number, there) for number in part])
            await asyncio.gather(*(_send(running, todo, channels, results) for _ in range(IN_FLIGHT)))
            if any(service.side.has_ended() for service in running.services):
                results.problems.append(f"a service died, of one of the cases {part[0]} to {part[-1]} or before")
                break
    results.seconds += time.monotonic() - begun


async def _send(running: Running, todo: Iterable[Case | Attacked], channels: Callers, results: Results) -> None:
    for sent in todo:
        begun = time.monotonic()
        if isinstance(sent, Attacked):
            answer = judging.of_attack(await sent.carry_out(running.of(sent.rpc).port))
        else:
            answer = await answered(channels.of(sent.rpc, sent.number), sent)
        results.add(sent, answer, time.monotonic() - begun)


async def answered(channel: grpc.aio.Channel, sent: Case) -> Answer:
    """Make the call of a case, and judge what is answered; a stream's first message will do."""
    streaming = method_of(sent.rpc).server_streaming
    method: Any = (channel.unary_stream if streaming else channel.unary_unary)(f"/{sent.rpc}")
    call = method(sent.content, timeout=PATIENCE_SECONDS, metadata=sent.metadata)
    try:
        content = await (_first(call) if streaming else call)
    except grpc.aio.AioRpcError as error:
        return judging.of_error(sent, error)
    finally:
        call.cancel()
    return Answer(OPEN) if content is None else judging.of_success(sent, content)


async def _first(call: Any) -> bytes | None:
    """Return the first message of a stream; None where none comes."""
    reading = asyncio.ensure_future(call.read())
    done, _ = await asyncio.wait([reading], timeout=STREAM_SECONDS)
    if not done:
        reading.cancel()
        return None
    message = reading.result()
    return message if isinstance(message, bytes) else b""
