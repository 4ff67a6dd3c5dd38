"""The processes of both services: each behind a proxy, to be killed, stopped and started again on its port."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from vibework.client import TLS
from vibework.testing.local import ports
from vibework.testing.local.processes import Process

from tests.harness.patience import wait_for
from tests.harness.proxy import Proxy
from tests.harness.workers import healthy
from tests.reliability.certificates import channel

ROOT: Final = Path(__file__).resolve().parents[2]
# How long a process that was told to end may drain, in seconds.
GRACE_SECONDS: Final = 20.0


@dataclass
class Served:
    """One process of a service. ``proxy``: by which callers, and the other service, reach it.

    ``tls``: how it is called; None: in plain text. ``more``: settings beside its own, until they are changed.
    """

    name: str
    package: str
    port: int
    proxy: Proxy
    settings: Mapping[str, str]
    folder: Path
    process: Process | None = None
    metrics: int = field(default_factory=ports.free_port)
    tls: TLS | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where callers reach it, ``host:port``."""
        return f"{ports.LOOPBACK}:{self.proxy.listens}"

    @property
    def pid(self) -> int:
        """The id of its process."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> Path:
        """The file of its log."""
        return self.folder / f"{self.name}.log"

    @property
    def tasks_file(self) -> Path:
        """Where it tells its tasks."""
        return self.folder / f"{self.name}.tasks"

    def begin(self, **more: str) -> None:
        """Start it, and do not wait; it ends with the thread that does this."""
        own = {
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
            "GRPC_PORT": str(self.port),
            "METRICS_PORT": str(self.metrics),
            "TASKS_FILE": str(self.tasks_file),
        }
        command = [sys.executable, "-m", "tests.reliability.served", self.package, "serve"]
        environment = {**os.environ, **self.settings, **own, **self.more, **more}
        self.process = Process(self.name, command, log=self.log, environment=environment, directory=ROOT)

    def wait(self) -> None:
        """Wait until it serves."""
        wait_for(self.is_serving, self.name)

    def is_serving(self) -> bool:
        """Ask for its health, past the proxy, over a connection of its own."""
        with channel(self.port, self.tls) as connection:
            return healthy(connection)

    def start(self, **more: str) -> None:
        """Start it, and wait until it serves."""
        self.begin(**more)
        self.wait()

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()

    def stop(self) -> int:
        """Let it drain and end; return its exit code."""
        assert self.process is not None
        return self.process.stop(grace=GRACE_SECONDS)

    def hang(self) -> None:
        """Suspend it: it keeps its connections and says nothing."""
        os.killpg(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.killpg(self.pid, signal.SIGCONT)
