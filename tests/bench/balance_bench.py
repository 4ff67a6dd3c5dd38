"""What one, two and three processes of the users service behind one Envoy answer, and what a call costs.

``python -m tests.bench.balance_bench [CALLS]``: ValidateSession, so many calls for each number of processes, which take
turns in rounds, since the machine is not idle; medians count. All share the machine's cores with the load, so calls a
second do not grow with the processes here. The processor time of a call does not depend on that, and says how many
calls a process answers on a core of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any, Final, NamedTuple

import grpc

from tests.bench.access_bench import METHOD
from tests.bench.services import crowd, started, validations
from tests.bench.usage import cpu_seconds
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import TestRun
from tests.harness.envoy import Balancer, balancing
from tests.harness.pair import Side

ROUNDS: Final = 5
MOST_PROCESSES: Final = 3
CONNECTIONS: Final = 8
AT_ONCE: Final = 64


class Round(NamedTuple):
    """Calls a second, and microseconds of processor time for a call, of all processes and of Envoy."""

    calls_per_second: float
    services: float
    envoy: float


def measured(calls: int) -> dict[str, Round]:
    """Return the medians for each number of processes."""
    run = TestRun(os.getpid(), None)
    run.clear()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        mysql = running.enter_context(migrated_mysql(run, run.mysql()))
        sides = [started(running, mysql) for _ in range(MOST_PROCESSES)]
        balancers = []
        for number in range(1, MOST_PROCESSES + 1):
            own = Path(folder, str(number))
            own.mkdir()
            balancers.append(running.enter_context(balancing(own, sides[:number])))
        requests = validations(sides[0].address)
        rounds = [
            [asyncio.run(_round(balancer, sides, requests, calls)) for balancer in balancers] for _ in range(ROUNDS)
        ]
    found = {}
    for number in range(MOST_PROCESSES):
        values = zip(*(each[number] for each in rounds), strict=True)
        found[str(number + 1)] = Round(*(round(median(value), 1) for value in values))
    return found


async def _round(balancer: Balancer, sides: Sequence[Side], requests: Sequence[bytes], calls: int) -> Round:
    services = [side.pid for side in sides]
    async with AsyncExitStack() as channels:
        methods: list[Any] = []
        for _ in range(CONNECTIONS):
            options = [("grpc.use_local_subchannel_pool", 1)]
            channel = grpc.aio.insecure_channel(balancer.address, options=options)
            methods.append((await channels.enter_async_context(channel)).unary_unary(METHOD))

        async def call(caller: int, turn: int) -> None:
            await methods[caller % CONNECTIONS](requests[turn % len(requests)])

        await crowd(call, AT_ONCE, 8 * AT_ONCE)
        before, by_envoy, begun = cpu_seconds(services), cpu_seconds([balancer.pid]), monotonic()
        made, took = await crowd(call, AT_ONCE, calls), monotonic() - begun
        spent = cpu_seconds(services) - before, cpu_seconds([balancer.pid]) - by_envoy
        return Round(made / took, *(seconds / made * 1e6 for seconds in spent))


def main() -> None:
    """Measure and print."""
    found = measured(int(sys.argv[1]) if sys.argv[1:] else 4_000)
    print(json.dumps({number: each._asdict() for number, each in found.items()}, indent=2))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
