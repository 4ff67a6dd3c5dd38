"""A run: both services, the cases, and what is looked at when they are over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import uvloop

from tests.fuzzing import judging, running, services
from tests.fuzzing.running import Results
from tests.fuzzing.services import Running, Service
from tests.harness.database_servers import TestRun

# MiB that a process may occupy at most, and that it may have grown by in the end.
MOST_MIB: Final = 700.0


@dataclass(frozen=True)
class Memory:
    """What a service's process occupied, in MiB."""

    name: str
    before: float
    after: float
    peak: float

    def __str__(self) -> str:
        """Say it."""
        return f"memory of {self.name}: {self.before:.0f} MiB before, {self.after:.0f} after, {self.peak:.0f} at most"


def fuzz(there: Running, numbers: Sequence[int], seed: int) -> tuple[Results, list[Memory]]:
    """Send the cases of these numbers, and judge answers, processes, logs and memory."""
    results = Results()
    before = [service.resident() for service in there.services]
    uvloop.run(running.run(there, numbers, seed, results))
    alive = [service for service in there.services if not service.side.has_ended()]
    memory = [
        Memory(service.name, at_first, service.resident(), service.peak())
        for service, at_first in zip(there.services, before, strict=True)
        if service in alive
    ]
    results.problems += [f"{each} is more than {MOST_MIB:.0f}" for each in memory if each.peak > MOST_MIB]
    for service in alive:
        results.problems += _left(service)
    for service in there.services:
        results.problems += judging.of_log(service, frozenset(results.disclosed))
    several = [mail.recipients for mail in there.relay.mails if len(mail.recipients) != 1]
    results.problems += [f"a mail has several recipients: {recipients}" for recipients in several]
    return results, memory


def _left(service: Service) -> Iterator[str]:
    restarts = service.scrape().value("vibework_listener_restarts_total")
    if restarts:
        yield f"{service.name}: {restarts:.0f} listeners died"


@contextmanager
def own_services(**settings: str) -> Iterator[Running]:
    """Start databases, and both services on them, for a command; all of it ends with the context."""
    run = TestRun(os.getpid(), None)
    run.clear()
    with (
        tempfile.TemporaryDirectory(prefix="vibework-fuzzing-") as folder,
        services.running(run, Path(folder), **settings) as there,
    ):
        yield there
