"""The metrics of several workers, at the one address of their parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys

import pytest
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.databases import MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.workers import children, environment, workers
from tests.integration.telemetry.scraping import Scrape, scrape, until


def read(port: int) -> Scrape:
    """Read all metrics."""
    return asyncio.run(scrape(port))


def of_both(port: int) -> Scrape:
    """Return a scrape that both workers have answered; the parent leaves out one that takes over two seconds."""
    up = {"0": 1.0, "1": 1.0}
    return asyncio.run(
        until(port, lambda now: {each: now.value("vibework_worker_up", worker=each) for each in up} == up)
    )


@pytest.mark.long
def test_the_parent_tells_the_metrics_of_every_worker(mysql_database: MySQLDatabase) -> None:
    """One scrape reaches all processes, tells them apart, and counts those that died."""
    port = free_port()
    with workers(mysql_database, 2, METRICS_PORT=str(port)) as (process, _):
        found = of_both(port)
        assert found.value("vibework_workers") == 2
        for place in ("0", "1"):
            assert found.value("vibework_build_info", worker=place) == 1
            assert found.value("process_resident_memory_bytes", worker=place) > 10_000_000
            assert found.value("vibework_worker_restarts_total", worker=place) == 0
        os.kill(min(children(process.pid)), signal.SIGKILL)
        wait_for(lambda: read(port).value("vibework_worker_restarts_total") == 1, "the restart to be counted")
        of_both(port)


@pytest.mark.long
def test_a_port_that_is_taken_stops_the_start(mysql_database: MySQLDatabase) -> None:
    """Metrics that nobody can read would be missed only when they are needed; so it is said at the start, once."""
    with asyncio.Runner() as runner:
        taken = runner.run(asyncio.start_server(lambda _, __: None, LOOPBACK, 0))
        port = taken.sockets[0].getsockname()[1]
        for number in ("1", "2"):
            command = [sys.executable, "-m", "users_service", "serve", "--workers", number]
            variables = environment(mysql_database, free_port()) | {"METRICS_PORT": str(port)}
            ended = subprocess.run(
                command, env=variables, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
            )
            assert ended.returncode == 1
            line = f"cannot start: cannot serve metrics on {LOOPBACK}:{port}: the port is taken or not ours\n"
            assert ended.stderr == line
        taken.close()
