"""Load generator processes: apart from the servers and from each other, and idle between measurements."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from tests.bench import load
from tests.bench.calls import Caller
from tests.bench.load import Job, Sample

# A call that fails is not counted as one, so it cannot pass for speed; but a few must not end a long run.
MOST_ERRORS = 0.1


@dataclass(frozen=True)
class Load:
    """How hard to call: ``in_flight`` calls at a time or, with ``rate``, so many per second; for ``seconds``."""

    in_flight: int
    seconds: float
    rate: float = 0.0


class Generators:
    """Several processes that share a load."""

    def __init__(self, pipes: Sequence[Any]) -> None:
        self._pipes = pipes
        self._measured = 0

    def measure(self, caller: Caller, wanted: Load, processes: int) -> Sample:
        """Call from so many of the processes at once and return what all measured together.

        Raises RuntimeError with the first error where no call succeeded, or more than ``MOST_ERRORS`` of them failed.
        """
        number = min(processes, wanted.in_flight, len(self._pipes))
        for index, (pipe, job) in enumerate(zip(self._pipes, _shares(caller, wanted, number), strict=False)):
            # Elsewhere each time, so that a server does not always meet again what it has just remembered. And each
            # process has requests of its own: a server answers several of the same with one query.
            pipe.send(replace(job, first=self._measured * 7_919 + index, step=number))
        self._measured += number
        total = Sample()
        for pipe in self._pipes[:number]:
            total.add(pipe.recv())
        made = total.all_calls + total.errors
        if not total.calls or total.errors > MOST_ERRORS * made:
            raise RuntimeError(f"{total.errors} of {made} calls failed: {total.error or caller}")
        return total


def _shares(caller: Caller, wanted: Load, number: int) -> list[Job]:
    parts = [wanted.in_flight // number + (index < wanted.in_flight % number) for index in range(number)]
    return [Job(caller, part, wanted.seconds, rate=wanted.rate / number) for part in parts]


@contextmanager
def generators(number: int) -> Iterator[Generators]:
    """Start the processes; they end with the context, or with this process."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(number):
        ours, theirs = context.Pipe()
        process = context.Process(target=load.serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        yield Generators(pipes)
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join(5)
            process.kill()
