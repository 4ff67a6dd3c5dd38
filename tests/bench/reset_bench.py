"""What floods of calls that are taken back at once (rapid reset) leave in a process: its memory in MiB.

``python -m tests.bench.reset_bench [CONNECTIONS]``. A users service gets ``FLOODS`` floods over each of so many
connections at a time; afterwards it has ``LOOKS`` times ``GIVE_BACK_SECONDS`` to give back what was freed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import ExitStack
from typing import Final

from chassis.serving.memory import GIVE_BACK_SECONDS
from tests.bench import http2
from tests.bench.http2 import Code, Kind
from tests.bench.services import started
from tests.bench.usage import peak_mib, resident_mib
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import TestRun
from tests.harness.pair import Side
from tests.unit.chassis.raw_connection import VALIDATE, connected

CONNECTIONS: Final = 48
FLOODS: Final = 2
# As many as a connection may make at once (GRPC_MAX_CALLS_PER_CONNECTION).
CALLS: Final = 2_000
# After each so many the other connections have their turn.
TURN: Final = 100
# For the last calls of a flood to reach the server before its connection ends.
SENT_SECONDS: Final = 0.3
# It looks after one, two and four times that, while little is free.
LOOKS: Final = 8


async def _flood(port: int) -> None:
    for _ in range(FLOODS):
        async with connected(port) as connection:
            for number in range(CALLS):
                stream = connection.call(VALIDATE)
                connection.send(http2.frame(Kind.RST_STREAM, 0, stream, http2.number(Code.CANCEL)))
                if number % TURN == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(SENT_SECONDS)


async def _measured(side: Side, connections: int) -> dict[str, int]:
    before = resident_mib(side.pid)
    await asyncio.gather(*(_flood(side.port) for _ in range(connections)))
    after = resident_mib(side.pid)
    await asyncio.sleep(LOOKS * GIVE_BACK_SECONDS)
    found = {"before": before, "at most": peak_mib(side.pid), "after": after, "given back": resident_mib(side.pid)}
    return {name: round(value) for name, value in found.items()} | {"calls": connections * FLOODS * CALLS}


def main() -> None:
    """Measure and print."""
    run = TestRun(os.getpid(), None)
    run.clear()
    with migrated_mysql(run, run.mysql()) as mysql, ExitStack() as running:
        found = asyncio.run(_measured(started(running, mysql), int(sys.argv[1]) if sys.argv[1:] else CONNECTIONS))
    print(json.dumps(found, indent=2))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
