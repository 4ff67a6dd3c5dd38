"""The table of results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.harness.history.verdict import CHECKS
from tests.reliability.running import Result

HEADER: Final = (
    "fault",
    "calls",
    "failed, once",
    "failed, patient",
    *CHECKS,
    "health away",
    "health back",
    "first good",
    "memory",
    "",
)


def row(result: Result) -> tuple[str, ...]:
    """Return a line of the table."""
    failed = [f"{result.failed.get(each, (0, 0))[0]} of {result.failed.get(each, (0, 0))[1]}" for each in (False, True)]
    return (
        result.fault.name,
        str(result.checked.get("calls", 0)),
        *failed,
        *(str(len(result.broken.get(check, ()))) for check in CHECKS),
        _seconds(result.flipped),
        _seconds(result.back),
        _seconds(result.first_good),
        f"{result.memory_mib:+.0f} MiB",
        "holds" if result.holds else "BROKEN",
    )


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} s"


def table(results: Sequence[Result]) -> str:
    """Return the table, as Markdown."""
    lines = [HEADER, *map(row, results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    written = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([written[0], rule, *written[1:]])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def reasons(result: Result, most: int = 5) -> list[str]:
    """Return what breaks a result, for people."""
    return [f"{check}: {text}" for check, found in result.broken.items() for text in found[:most]]
