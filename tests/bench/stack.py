"""The server processes of a run: the services under test, and the servers that they are compared with."""

from __future__ import annotations

import json
import os
import pickle
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from chassis.probe import probe
from script.local import ports
from script.local.processes import Process
from tests.bench.calls import Caller
from tests.bench.dataset import ROOT, Dataset
from tests.bench.requests import Rpc

START_SECONDS = 30.0
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

    def pair(self, name: str, dataset: Dataset) -> Pair:
        """Start both services over a dataset, the recipients' check included."""
        users = self.users(f"{name}-users", dataset)
        settings = {**dataset.notifications, "USERS_ADDRESS": users.address, "RECIPIENT_CHECK": "required"}
        notifications = self._service(f"{name}-notifications", "notifications-service", settings)
        return Pair(dataset, users, notifications)

    def users(self, name: str, dataset: Dataset) -> Server:
        """Start a users service."""
        return self._service(name, "users-service", dataset.users)

    def users_workers(self, number: int, dataset: Dataset) -> Server:
        """Start a users service of several worker processes, which are the children of the server's process."""
        return self._service(f"users-{number}", "users-service", dataset.users, "--workers", str(number))

    def echo(self, sizes: Sequence[int]) -> Server:
        """Start the bare echo, with responses of these sizes."""
        return self._module("echo", "tests.bench.echo_server", {}, json.dumps(list(sizes)))

    def through(self, sizes: Sequence[int], callers: Sequence[Caller]) -> Server:
        """Start an echo that makes one of these calls, of the size's number, before it answers."""
        file = self._logs / "through.pickle"
        file.write_bytes(pickle.dumps(list(callers)))
        return self._module("through", "tests.bench.echo_server", {}, json.dumps(list(sizes)), str(file))

    def orm(self, dataset: Dataset) -> Server:
        """Start the handlers on SQLAlchemy's ORM."""
        return self._module("orm", "tests.bench.orm_server", dataset.users)

    def _service(self, name: str, command: str, settings: Mapping[str, str], *options: str) -> Server:
        port = ports.free_port()
        program = str((MEASURED if MEASURED.is_dir() else Path(sys.executable).parent) / command)
        # Their metrics are kept, as where they run for real.
        own = {"GRPC_PORT": str(port), "METRICS_PORT": str(ports.free_port())}
        return self._start(name, [program, "serve", *options], {**settings, **own}, port)

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
