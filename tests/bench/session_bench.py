"""What a policy and tokens cost ValidateSession over MySQL: processor time of the service for each call.

``python -m tests.bench.session_bench [CALLS]``. Three processes of the users service on one database: ``open`` without
a policy, ``header`` the same where calls bring a token that nobody looks at, and ``policy`` with a policy, whose calls
bring a token that it looks at. They take turns in rounds, and the median of the rounds' ratios counts, since the
machine is not idle.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
from vibework.testing.local.ports import free_port

from tests.bench.access_bench import METHOD
from tests.bench.services import crowd, started, validations
from tests.bench.usage import cpu_seconds
from tests.harness.database_fixtures import migrated_mysql
from tests.harness.database_servers import TestRun
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set
from tests.harness.pair import Side

ROUNDS: Final = 7
AT_ONCE: Final = 32
KINDS: Final = ("open", "header", "policy")


@contextmanager
def services(run: TestRun, folder: Path, issuer: Issuer) -> Iterator[dict[str, Side]]:
    """Run one of each kind on one database for as long as the context lasts."""
    (folder / "jwks.json").write_bytes(key_set(issuer))
    (folder / "policy.toml").write_text('[[rules]]\ncallers = ["jwt:*"]\nrpcs = ["sign-in"]\n')
    asking = {
        "ACCESS_POLICY_FILE": str(folder / "policy.toml"),
        "JWKS_FILE": str(folder / "jwks.json"),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
    }
    with migrated_mysql(run, run.mysql()) as mysql, ExitStack() as running:
        made = {}
        for kind in KINDS:
            settings = asking if kind == "policy" else {}
            made[kind] = started(running, mysql, METRICS_PORT=str(free_port()), **settings)
        yield made


async def _seconds(side: Side, metadata: Any, requests: list[bytes], calls: int) -> float:
    """Return the processor time of one call."""
    async with grpc.aio.insecure_channel(side.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        method: Any = channel.unary_unary(METHOD)

        async def call(_: int, turn: int) -> None:
            await method(requests[turn % len(requests)], metadata=metadata)

        await crowd(call, AT_ONCE, 8 * AT_ONCE)
        before = cpu_seconds([side.pid])
        made = await crowd(call, AT_ONCE, calls)
        return (cpu_seconds([side.pid]) - before) / made


async def _rounds(made: dict[str, Side], token: str, requests: list[bytes], calls: int) -> list[dict[str, float]]:
    bearing = (("authorization", f"Bearer {token}"),)
    return [
        {kind: await _seconds(side, () if kind == "open" else bearing, requests, calls) for kind, side in made.items()}
        for _ in range(ROUNDS)
    ]


def measured(calls: int) -> dict[str, float]:
    """Return microseconds of processor time for a call of each kind, and what ``open`` is of ``policy`` (``ratio``)."""
    run, issuer = TestRun(os.getpid(), None), Issuer()
    run.clear()
    with tempfile.TemporaryDirectory() as folder, services(run, Path(folder), issuer) as made:
        token = issuer.token("system:serviceaccount:web:web")
        rounds = asyncio.run(_rounds(made, token, validations(made["open"].address), calls))
    found = {kind: round(median(each[kind] for each in rounds) * 1e6, 1) for kind in KINDS}
    ratios = {
        "ratio": median(each["open"] / each["policy"] for each in rounds),
        "ratio to header": median(each["header"] / each["policy"] for each in rounds),
    }
    return found | {name: round(value, 3) for name, value in ratios.items()}


def main() -> None:
    """Measure and print."""
    print(json.dumps(measured(int(sys.argv[1]) if sys.argv[1:] else 4_000), indent=2))  # noqa: T201 - its output


if __name__ == "__main__":
    main()
