"""Prints a run as two tables: what was to be reached, and every subject by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

import click

from tests.bench.rounds import Measurement, Results
from tests.bench.targets import Outcome

VERDICTS = {True: "met", False: "missed", None: ""}


def print_outcomes(outcomes: Sequence[Outcome], before: Mapping[str, float]) -> None:
    """Print each target with the median, the spread of the rounds and, where there is one, an earlier run's value."""
    columns = (
        "target",
        "median",
        "lowest",
        "highest",
        "by CPU",
        "bound",
        "",
        *(("before", "change") if before else ()),
    )
    rows = []
    for one in outcomes:
        cells = [one.title, *(f"{value:.2f}" for value in (one.value, min(one.values), max(one.values)))]
        bound = "" if one.bound is None else f"{'≥' if one.rising else '≤'} {one.bound:g} {one.unit}"
        cells.append("" if one.by_cpu is None else f"{one.by_cpu:.2f}")
        rows.append((*cells, bound, VERDICTS[one.met], *(_change(one, before) if before else ())))
    _print("Targets", columns, rows)


def print_subjects(results: Results) -> None:
    """Print each subject's calls per second with their spread, latencies, and processor time per call."""
    spread = ("calls/s", "lowest", "highest")
    rows = []
    for key, rounds in results.by_subject.items():
        rates = [one.calls_per_second for one in rounds]
        cpu = median(one.cpu_us for one in rounds)
        rows.append(
            (
                key,
                *(f"{value:,.0f}" for value in (median(rates), min(rates), max(rates))),
                *(f"{_latency(rounds, percent):.2f}" for percent in ("50", "99")),
                f"{cpu:,.0f}" if cpu else "",
                f"{median(one.database_us for one in rounds):,.0f}",
                f"{median(one.generator_us for one in rounds):,.0f}",
            )
        )
    columns = ("subject", *spread, "p50 ms", "p99 ms", "server µs/call", "database µs/call", "generator µs/call")
    _print(f"Medians of {results.rounds} rounds", columns, rows)


def print_errors(results: Results) -> None:
    """Print how many calls failed, and how, where any did."""
    for key, rounds in results.by_subject.items():
        if errors := sum(one.errors for one in rounds):
            first = next(one.error for one in rounds if one.errors)
            click.secho(f"{key}: {errors} calls failed: {' '.join(first.split())}", fg="red")


def print_latencies(results: Results, rate: float) -> None:
    """Print the latency percentiles of an open loop."""
    names = list(next(iter(results.by_subject.values()))[0].latency_ms)
    title = f"Latency in ms at {rate:,.0f} calls/s, from when each call was due"
    columns = ("subject", "calls/s", *(name if name == "max" else f"p{name}" for name in names))
    rows = []
    for key, rounds in results.by_subject.items():
        reached = median(one.calls_per_second for one in rounds)
        rows.append((key, f"{reached:,.0f}", *(f"{_latency(rounds, name):.2f}" for name in names)))
    _print(title, columns, rows)


def _latency(rounds: Sequence[Measurement], name: str) -> float:
    return median(one.latency_ms[name] for one in rounds)


def _change(one: Outcome, before: Mapping[str, float]) -> tuple[str, str]:
    if not (old := before.get(one.title)):
        return "", ""
    return f"{old:.2f}", f"{(one.value - old) / abs(old):+.0%}"


def _print(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    click.secho(f"\n{title}", bold=True)
    widths = [max(map(len, cells)) for cells in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        first, *rest = (
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join((first, *rest)).rstrip())
