"""What the events that WatchUsers streams cost SignUp: processor time of the service and of MySQL for each call.

``python -m tests.bench.event_bench [CALLS]``. Two users services on databases of their own, one of which writes no
events. They take turns in rounds, since the machine is not idle, and the median of the rounds' ratios counts.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
from vibework.users.v1 import session_service_pb2 as pb

from tests.bench.services import crowd, started
from tests.bench.usage import children, cpu_seconds
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import MySQLServer, TestRun
from tests.harness.databases import run_mysql
from tests.harness.pair import Side

ROUNDS: Final = 7
AT_ONCE: Final = 8
METHOD: Final = "/vibework.users.v1.SessionService/SignUp"
PACKAGES: Final = {"events": "users_service", "none": "tests.bench.silent_users"}


async def _seconds(side: Side, mysqld: int, numbers: Iterator[int], calls: int) -> float:
    """Return the processor time of one call."""
    async with grpc.aio.insecure_channel(side.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        method: Any = channel.unary_unary(METHOD)

        async def call(*_: int) -> None:
            request = pb.SignUpRequest(email=f"bench{next(numbers)}@example.com", password="correct horse battery")
            await method(request.SerializeToString())

        await crowd(call, AT_ONCE, 2 * AT_ONCE)
        pids = [side.pid, *children(side.pid), mysqld]
        before = cpu_seconds(pids)
        made = await crowd(call, AT_ONCE, calls)
        return (cpu_seconds(pids) - before) / made


def _process_of(server: MySQLServer) -> int:
    """Return the process of a server that runs on this machine."""
    [[file]] = run_mysql(server, ["SELECT @@pid_file"])
    return int(Path(file).read_text())


def measured(calls: int) -> dict[str, float]:
    """Return microseconds of processor time for a call with and without events, and the ratio."""
    run, numbers = TestRun(os.getpid(), None), itertools.count()
    run.clear()
    with ExitStack() as running:
        sides = {}
        for kind, package in PACKAGES.items():
            mysql = running.enter_context(migrated_mysql(run, run.mysql()))
            sides[kind] = started(running, mysql, package)
        mysqld = _process_of(run.mysql())
        rounds = [
            {kind: asyncio.run(_seconds(side, mysqld, numbers, calls)) for kind, side in sides.items()}
            for _ in range(ROUNDS)
        ]
    found = {kind: round(median(each[kind] for each in rounds) * 1e6, 1) for kind in PACKAGES}
    return found | {"ratio": round(median(each["events"] / each["none"] for each in rounds), 3)}


def main() -> None:
    """Measure and print."""
    print(json.dumps(measured(int(sys.argv[1]) if sys.argv[1:] else 800), indent=2))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
