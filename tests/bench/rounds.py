"""Measures in rounds: every subject once per round, so that a machine that slows down slows all alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.bench.generators import Generators, Load
from tests.bench.load import Sample
from tests.bench.scenarios import Group, Subject
from tests.bench.usage import cpu_seconds

WARM_UP_SECONDS = 0.2
# What a measurement takes besides: opening channels, and sending what was measured.
OVERHEAD_SECONDS = 0.1
PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True)
class Measurement:
    """One subject in one round. Latencies in ms, by percentile; ``cpu_us``: server time per call.

    ``database_us``, ``generator_us``: what both database servers and the generators took per call, on the same machine.
    Of references without a server that is all.
    ``errors``: calls that failed; ``error``: the first of them.
    """

    calls_per_second: float
    latency_ms: dict[str, float]
    cpu_us: float
    database_us: float = 0.0
    generator_us: float = 0.0
    errors: int = 0
    error: str = ""


@dataclass
class Results:
    """Everything measured, by subject and round."""

    rounds: int = 0
    by_subject: dict[str, list[Measurement]] = field(default_factory=dict)

    def rates(self) -> dict[str, list[float]]:
        """Return the calls per second of each subject's rounds."""
        return {key: [one.calls_per_second for one in many] for key, many in self.by_subject.items()}

    def cpu(self) -> dict[str, float]:
        """Return the processor time that the servers of each subject spend on a call, in µs, in the best round.

        Other programs on the machine only ever add to it: they empty the caches.
        """
        return {key: min(one.cpu_us for one in many) for key, many in self.by_subject.items()}

    def p50(self) -> dict[str, list[float]]:
        """Return the median latencies of each subject's rounds, in ms."""
        return {key: [one.latency_ms["50"] for one in many] for key, many in self.by_subject.items()}


def seconds_each(groups: Sequence[Group], budget: float, rounds: int) -> float:
    """Return how long a subject of weight 1 may be measured in each round for all to end within the budget."""
    number = sum(len(group.subjects) for group in groups)
    weight = sum(len(group.subjects) * group.weight for group in groups)
    left = budget / rounds - number * (WARM_UP_SECONDS + OVERHEAD_SECONDS)
    return min(5.0, max(0.3, left / weight))


def measure(
    generators: Generators,
    groups: Sequence[Group],
    *,
    rounds: int,
    seconds: float,
    databases: Sequence[int] = (),
    rate: float = 0.0,
    done: Callable[[str], None] = lambda _: None,
) -> Results:
    """Run the rounds. ``databases``: the processes of the database servers; ``done`` hears of each subject.

    ``rate`` above 0: an open loop of so many calls per second.
    """
    results = Results(rounds)
    for number in range(rounds):
        for group in groups:
            # Every other round backwards, so that no subject always follows the same one.
            for subject in group.subjects if number % 2 == 0 else reversed(group.subjects):
                load = Load(subject.in_flight, seconds * group.weight, rate)
                results.by_subject.setdefault(subject.key, []).append(_one(generators, subject, load, databases))
                done(subject.key)
    return results


def _one(generators: Generators, subject: Subject, load: Load, databases: Sequence[int]) -> Measurement:
    before, before_there = cpu_seconds(subject.pids), cpu_seconds(databases)
    sample = generators.measure(subject.caller, load, subject.generators)
    used, used_there = cpu_seconds(subject.pids) - before, cpu_seconds(databases) - before_there
    # The processor's time covers all calls, also those of the warm-up.
    return Measurement(
        sample.calls / sample.seconds,
        percentiles(sample),
        used / sample.all_calls * 1e6,
        used_there / sample.all_calls * 1e6,
        sample.processor / sample.all_calls * 1e6,
        sample.errors,
        sample.error,
    )


def percentiles(sample: Sample) -> dict[str, float]:
    """Return the latencies of a sample in ms, by percentile, and the longest."""
    ordered = sorted(sample.latencies)
    at = {f"{percent:g}": ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] for percent in PERCENTILES}
    return {name: round(seconds * 1000, 3) for name, seconds in {**at, "max": ordered[-1]}.items()}
