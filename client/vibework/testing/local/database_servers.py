"""A database server as a local process: what MySQL and MongoDB have in common."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from vibework.testing.local import ports
from vibework.testing.local.processes import Process

START_TIMEOUT_SECONDS = 60.0


class LocalDatabaseServer(ABC):
    """A server on loopback that keeps its data and its log in `directory`.

    `options` are further options of its program. Data of one that is not `durable` is thrown away.
    """

    def __init__(self, directory: Path, *, port: int | None, durable: bool, options: Sequence[str]) -> None:
        """Describe the server; `start` starts it. Without `port` a free one is taken."""
        self.directory = directory.resolve()
        self.port = port or ports.free_port()
        self.process: Process | None = None
        self._options = tuple(options)
        # Terminated, a server finishes its writes first; data that is thrown away needs none of that.
        self._on_parent_death = signal.SIGTERM if durable else signal.SIGKILL

    @abstractmethod
    def begin(self) -> None:
        """Start the server without waiting for it."""

    @abstractmethod
    def wait(self) -> None:
        """Wait until the server can be used."""

    def start(self) -> None:
        """Start the server (the first time: on a new data directory) and wait until it can be used.

        Call `begin` and `wait` instead where other things can be done meanwhile. Raises `LocalProblem`.
        """
        self.begin()
        self.wait()

    @property
    def begun(self) -> Process:
        """The process, once `begin` has started it."""
        if self.process is None:
            raise RuntimeError("begin() comes first")
        return self.process

    def stop(self) -> None:
        """Stop the server, what is committed being on disk; harmless if it does not run."""
        if self.process is not None:
            self.process.stop(grace=30.0)

    def kill(self) -> None:
        """End the server at once, as a crash would; `start` starts it again on the same data."""
        if self.process is not None:
            self.process.kill()
