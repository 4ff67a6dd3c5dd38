"""The two services as local processes: their commands, their migrations, and waiting until they serve."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from vibework.testing.local import ports
from vibework.testing.local.problems import LocalProblem
from vibework.testing.local.processes import Process

START_TIMEOUT_SECONDS = 60.0
MIGRATE_TIMEOUT_SECONDS = 300.0
# HealthCheckRequest of the server as a whole, and HealthCheckResponse with the status SERVING, as they are encoded.
_WHOLE_SERVER: Final = b""
_SERVING: Final = b"\x08\x01"


@dataclass(frozen=True)
class Service:
    """One service: its name (`users` or `notifications`), its port on loopback, and its settings."""

    name: str
    port: int
    settings: Mapping[str, str]

    @property
    def command(self) -> str:
        """The name of its command."""
        return f"{self.name}-service"

    @property
    def address(self) -> str:
        """Where it is called."""
        return f"{ports.LOOPBACK}:{self.port}"

    def run(self, *arguments: str, log: Path) -> Process:
        """Start the service's command. Raises `LocalProblem` where it is not installed."""
        program = program_of(self.name)
        if program is None:
            raise LocalProblem(f"{self.command} is not installed")
        return Process(
            f"{self.command} {' '.join(arguments)}",
            [*program, *arguments],
            log=log,
            environment={**self.inherited(), **self.settings},
            on_parent_death=signal.SIGTERM,
        )

    def inherited(self) -> Mapping[str, str]:
        """Return the environment that the settings come on top of."""
        return os.environ

    def is_serving(self) -> bool:
        """Ask for its health."""
        return is_serving(self.address)


def program_of(name: str) -> list[str] | None:
    """Return how a service's command is run: beside this Python, on PATH, or as a module; None: it is not installed."""
    command = f"{name}-service"
    beside = Path(sys.executable).with_name(command)
    if beside.exists():
        return [str(beside)]
    if found := shutil.which(command):
        return [found]
    package = f"{name}_service"
    return [sys.executable, "-m", package] if importlib.util.find_spec(package) else None


def is_serving(address: str, *, seconds: float = 1.0) -> bool:
    """Say whether a server without TLS is healthy (grpc.health.v1)."""
    with grpc.insecure_channel(address) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        try:
            answer: bytes = check(_WHOLE_SERVER, timeout=seconds)
        except grpc.RpcError:
            return False
    return answer == _SERVING


def migrate(services: Sequence[Service], logs: Path) -> None:
    """Bring both schemas up to date, at once; raise `LocalProblem` with the command's own words."""
    runs = [service.run("migrate", "up", log=logs / f"{service.name}-migrate.log") for service in services]
    codes = [run.finish(grace=MIGRATE_TIMEOUT_SECONDS) for run in runs]
    for run, code in zip(runs, codes, strict=True):
        if code:
            raise LocalProblem(f"{run.name} ended with code {code} ({run.log})", detail=run.tail())
