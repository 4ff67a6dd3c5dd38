"""The command behind ``script/bench``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
from vibework.testing.local.problems import LocalProblem

from chassis.commands.progress import progress
from tests.bench import delivery_bench, scenarios, watch_bench
from tests.bench import record as records
from tests.bench.databases import databases
from tests.bench.dataset import ROOT, folder_for, remove_traces
from tests.bench.generators import generators
from tests.bench.plot import svg
from tests.bench.rounds import Results, measure, seconds_each
from tests.bench.scenarios import Group
from tests.bench.stack import launcher
from tests.bench.table import print_errors, print_latencies, print_outcomes, print_subjects
from tests.bench.targets import Outcome
from tests.harness.transports import NATIVE

KEPT = ROOT / ".local" / "bench"
SMALL_SCALE = 0.01
GENERATORS = 2
WATCH = "watch"
# Measured only where it is named: it takes some minutes of its own.
DELIVERY = "delivery"
# What watches take of the time.
WATCH_SECONDS = 35.0


@dataclass(frozen=True)
class Options:
    """What the command line asks for."""

    minutes: float
    rounds: int
    scale: float
    only: Sequence[str]
    rate: float
    in_flight: int
    connections: int
    against: Path | None
    output: Path


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--minutes", default=5.0, show_default=True, help="How long all may take, making the rows apart.")
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1), help="How often all is measured.")
@click.option("--scale", default=1.0, show_default=True, help="Rows, in parts of 100,000 users and 1,000,000 messages.")
@click.option("--only", multiple=True, help="What to measure (validate, create, list, watch, delivery …).")
@click.option("--rate", default=0.0, help="Open loop: so many calls per second, latencies from when each was due.")
@click.option("--in-flight", default=0, help="So many calls at a time, echoes and services alone, without targets.")
@click.option("--connections", default=0, help="Of each of two generators to each server; default: 4, to workers 16.")
@click.option("--against", type=click.Path(exists=True, path_type=Path), help="An earlier run's JSON to compare with.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder to write to; default: bench-results/<time>.")
def main(output: Path | None, **options: object) -> None:
    """Measure the services beside what they are compared with, and write bench.json and bench.svg."""
    folder = output or ROOT / "bench-results" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        run(Options(output=folder, **options))  # type: ignore[arg-type]  # click has checked the types
    except (LocalProblem, RuntimeError) as error:
        sys.exit(f"bench: {error}")


def run(options: Options) -> None:
    """Start everything, measure, and report."""
    options.output.mkdir(parents=True, exist_ok=True)
    results, footprint = Results(options.rounds), None
    if not options.only or set(options.only) - {WATCH, DELIVERY}:
        results, footprint = calls(options)
    found = [] if options.rate or options.in_flight else records.outcomes(results, footprint)
    if watches(options):
        click.echo("watching", err=True)
        found += records.watch_outcomes(watch_bench.measure())
    if DELIVERY in options.only:
        click.echo("delivering", err=True)
        found += delivery_bench.measure(options.output / "logs", options.scale).outcomes()
    report(options, results, found, footprint)


def calls(options: Options) -> tuple[Results, records.Footprint | None]:
    """Measure the calls, in rounds."""
    with databases(folder_for(KEPT, options.scale)) as servers, generators(GENERATORS) as load:
        big, small = servers.dataset("bench", options.scale), servers.dataset("bench_small", SMALL_SCALE)
        ends = time.monotonic() + options.minutes * 60 - (WATCH_SECONDS if watches(options) else 0.0)
        with launcher(options.output / "logs") as start:
            pairs = start.pair("big", big), start.pair("small", small)
            footprint = None if options.rate or options.in_flight else records.Footprint.of(pairs[0])
            native = start.pair("native", big, NATIVE)
            groups = chosen(scenarios.groups(start, *pairs, native), options)
            if options.connections:
                groups = [scenarios.over(group, options.connections) for group in groups]
            total = options.rounds * sum(len(group.subjects) for group in groups)
            seconds = seconds_each(groups, ends - time.monotonic(), options.rounds)
            with progress("measuring", total) as advance:
                results = measure(
                    load,
                    groups,
                    rounds=options.rounds,
                    seconds=seconds,
                    databases=servers.pids,
                    rate=options.rate,
                    done=lambda _: advance(1),
                )
        for dataset in (big, small):
            remove_traces(dataset)
    return results, footprint


def watches(options: Options) -> bool:
    """Say whether watches are to be measured, too."""
    return not options.rate and not options.in_flight and (not options.only or WATCH in options.only)


def chosen(groups: Sequence[Group], options: Options) -> list[Group]:
    """Return the groups that the options name; for another load than the targets' those that have one of their own."""
    if options.rate or options.in_flight:
        groups = [group for group in groups if "@" not in group.key and group.key not in {"sign_in", "workers"}]
    if options.in_flight:
        groups = [scenarios.of_crowd(group, options.in_flight) for group in groups if group.key != "deep"]
    if not options.only:
        return list(groups)
    found = [group for group in groups if group.key.split("@")[0] in options.only or group.key in options.only]
    if not found:
        raise click.UsageError(f"no such group; there are {', '.join(group.key for group in groups)}")
    return found


def report(options: Options, results: Results, found: Sequence[Outcome], footprint: records.Footprint | None) -> None:
    """Print the tables and write the files."""
    if options.rate:
        print_latencies(results, options.rate)
    else:
        if results.by_subject:
            print_subjects(results)
        if found:
            print_outcomes(found, records.earlier(options.against) if options.against else {})
    print_errors(results)
    kept = {name: getattr(options, name) for name in ("scale", "rounds", "rate", "in_flight", "connections")}
    written = records.record(results, found, footprint, kept)
    (options.output / "bench.json").write_text(json.dumps(written, indent=1))
    if found:
        subtitle = f"{written['commit']}, {os.cpu_count()} cores, {options.rounds} rounds; tick: target; line: spread"
        (options.output / "bench.svg").write_text(svg(found, subtitle))
    click.echo(f"Written to {options.output}")


if __name__ == "__main__":
    main()
