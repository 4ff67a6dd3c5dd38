"""Prints a run as two tables: what was to be reached, and every subject by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

from tests.bench.rounds import Measurement, Results
from tests.bench.targets import Outcome

VERDICTS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


def print_outcomes(console: Console, outcomes: Sequence[Outcome], before: Mapping[str, float]) -> None:
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
    table = _table("Targets", columns)
    for one in outcomes:
        cells = [one.title, *(f"{value:.2f}" for value in (one.value, min(one.values), max(one.values)))]
        bound = "" if one.bound is None else f"{'≥' if one.rising else '≤'} {one.bound:g} {one.unit}"
        cells.append("" if one.by_cpu is None else f"{one.by_cpu:.2f}")
        table.add_row(*cells, bound, VERDICTS[one.met], *(_change(one, before) if before else ()))
    console.print(table)


def print_subjects(console: Console, results: Results) -> None:
    """Print each subject's calls per second with their spread, latencies, and the server's time per call."""
    spread = ("calls/s", "lowest", "highest")
    table = _table(f"Medians of {results.rounds} rounds", ("subject", *spread, "p50 ms", "p99 ms", "server µs/call"))
    for key, rounds in results.by_subject.items():
        rates = [one.calls_per_second for one in rounds]
        cpu = median(one.cpu_us for one in rounds)
        table.add_row(
            key,
            *(f"{value:,.0f}" for value in (median(rates), min(rates), max(rates))),
            *(f"{_latency(rounds, percent):.2f}" for percent in ("50", "99")),
            f"{cpu:,.0f}" if cpu else "",
        )
    console.print(table)


def print_errors(console: Console, results: Results) -> None:
    """Print how many calls failed, and how, where any did."""
    for key, rounds in results.by_subject.items():
        if errors := sum(one.errors for one in rounds):
            first = next(one.error for one in rounds if one.errors)
            console.print(f"{key}: {errors} calls failed: {' '.join(first.split())}", style="red", markup=False)


def print_latencies(console: Console, results: Results, rate: float) -> None:
    """Print the latency percentiles of an open loop."""
    names = list(next(iter(results.by_subject.values()))[0].latency_ms)
    title = f"Latency in ms at {rate:,.0f} calls/s, from when each call was due"
    table = _table(title, ("subject", "calls/s", *(name if name == "max" else f"p{name}" for name in names)))
    for key, rounds in results.by_subject.items():
        reached = median(one.calls_per_second for one in rounds)
        table.add_row(key, f"{reached:,.0f}", *(f"{_latency(rounds, name):.2f}" for name in names))
    console.print(table)


def _latency(rounds: Sequence[Measurement], name: str) -> float:
    return median(one.latency_ms[name] for one in rounds)


def _change(one: Outcome, before: Mapping[str, float]) -> tuple[str, str]:
    if not (old := before.get(one.title)):
        return "", ""
    return f"{old:.2f}", f"{(one.value - old) / abs(old):+.0%}"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table
