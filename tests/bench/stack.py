"""The server processes of a run: the services under test, and the servers that they are compared with."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
from vibework.testing.local import ports
from vibework.testing.local.processes import Process

from chassis.probe import probe
from tests.bench.calls import Caller
from tests.bench.dataset import ROOT, Dataset
from tests.bench.requests import Rpc

# A busy machine gives each of a dozen processes a small part of a processor.
START_SECONDS = 120.0
NOTHING: Mapping[str, str] = {}
GO_READ = Path(__file__).parent / "go_read"
# Where script/bench has put the server's packages alone.
MEASURED = ROOT / ".local" / "bench" / "venv" / "bin"


@dataclass(frozen=True)
class Server:
    """A running server process: where it answers, and how long it took until it did, in seconds."""

    address: str
    process: Process
    started_in: float

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid


@dataclass(frozen=True)
class Pair:
    """Both services over one dataset."""

    dataset: Dataset
    users: Server
    notifications: Server

    def of(self, rpc: Rpc) -> Server:
        """Return the server of an RPC."""
        return self.users if rpc.side == "users" else self.notifications


class Launcher:
    """Starts server processes, and stops them all at the end."""

    def __init__(self, logs: Path, resources: ExitStack) -> None:
        """``logs``: the folder for what the servers print."""
        self._logs = logs
        self._resources = resources

    def pair(self, name: str, dataset: Dataset, chosen: Mapping[str, str] = NOTHING) -> Pair:
        """Start both services over a dataset, the recipients' check included; ``chosen``: settings of both."""
        users = self._service(f"{name}-users", "users-service", {**dataset.users, **chosen})
        peer = {"USERS_ADDRESS": users.address, "RECIPIENT_CHECK": "required"}
        settings = {**dataset.notifications, **peer, **chosen}
        notifications = self._service(f"{name}-notifications", "notifications-service", settings)
        return Pair(dataset, users, notifications)

    def users(self, name: str, dataset: Dataset) -> Server:
        """Start a users service."""
        return self._service(name, "users-service", dataset.users)

    def users_workers(self, number: int, dataset: Dataset) -> Server:
        """Start a users service of several worker processes, which are the children of the server's process."""
        return self._service(f"users-{number}", "users-service", dataset.users, "--workers", str(number))

    def notifications(self, name: str, settings: Mapping[str, str]) -> Server:
        """Start a notifications service."""
        return self._service(name, "notifications-service", settings)

    def worker(self, name: str, settings: Mapping[str, str]) -> Server:
        """Start a process that sends what goes out."""
        return self._service(name, "notifications-service", settings, what="deliver")

    def echo(self, sizes: Sequence[int]) -> Server:
        """Start the bare echo, with responses of these sizes."""
        return self._module("echo", "tests.bench.echo_server", {}, json.dumps(list(sizes)))

    def through(self, sizes: Sequence[int], callers: Sequence[Caller]) -> Server:
        """Start an echo that makes one of these calls, of the size's number, before it answers."""
        file = self._logs / "through.pickle"
        file.write_bytes(pickle.dumps(list(callers)))
        return self._module("through", "tests.bench.echo_server", {}, json.dumps(list(sizes)), str(file))

    def native_echo(self, sizes: Sequence[int]) -> Server:
        """Start a bare echo over the front of the other transport."""
        return self._module("native-echo", "tests.bench.native_echo_server", {}, json.dumps(list(sizes)))

    def go_read(self, dataset: Dataset) -> Server | None:
        """Build and start the read that is written by hand in Go; None where there is no Go that can."""
        if (go := shutil.which("go")) is None:
            return None
        program = self._logs.resolve() / "go-read"
        if subprocess.run([go, "build", "-buildvcs=false", "-o", program, "."], cwd=GO_READ, check=False).returncode:
            print("bench: the read in Go could not be built: it is left out", file=sys.stderr)  # noqa: T201
            return None
        port = ports.free_port()
        return self._start("go", [str(program), str(port)], dataset.users, port)

    def orm(self, dataset: Dataset) -> Server:
        """Start the handlers on SQLAlchemy's ORM."""
        return self._module("orm", "tests.bench.orm_server", dataset.users)

    def _service(
        self, name: str, command: str, settings: Mapping[str, str], *options: str, what: str = "serve"
    ) -> Server:
        port = ports.free_port()
        program = str((MEASURED if MEASURED.is_dir() else Path(sys.executable).parent) / command)
        # Their metrics are kept, as where they run for real.
        own = {"GRPC_PORT": str(port), "METRICS_PORT": str(ports.free_port())}
        return self._start(name, [program, what, *options], {**settings, **own}, port)

    def _module(self, name: str, module: str, settings: Mapping[str, str], *arguments: str) -> Server:
        port = ports.free_port()
        path = os.pathsep.join((str(ROOT), str(ROOT / "client")))
        command = [sys.executable, "-m", module, str(port), *arguments]
        return self._start(name, command, {**settings, "PYTHONPATH": path}, port)

    def _start(self, name: str, command: Sequence[str], settings: Mapping[str, str], port: int) -> Server:
        began = time.monotonic()
        process = Process(
            name,
            command,
            log=self._logs / f"{name}.log",
            environment={**os.environ, **settings},
            directory=ROOT,
            on_parent_death=signal.SIGKILL,
        )
        self._resources.callback(process.stop, grace=10.0)
        address = f"{ports.LOOPBACK}:{port}"
        process.wait_until(lambda: _answers(address), timeout=START_SECONDS, interval=0.01)
        return Server(address, process, time.monotonic() - began)


def response_size(address: str, rpc: Rpc) -> int:
    """Make one call and return the size of its response, in bytes."""
    with grpc.insecure_channel(address) as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(rpc.method)
        return len(call(rpc.requests[0], timeout=START_SECONDS))


@contextmanager
def launcher(logs: Path) -> Iterator[Launcher]:
    """Give a launcher whose servers stop when the context ends, newest first."""
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as resources:
        yield Launcher(logs, resources)


def _answers(address: str) -> bool:
    # The references have no health; that they know the method is not asked.
    return probe(address, "", timeout=1.0) in {"SERVING", "UNIMPLEMENTED"}
