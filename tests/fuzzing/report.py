"""The results of a run as text: cases by mutation and code, what they cost, and what must not be."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from tests.fuzzing.running import Results

SHOWN = 20


def lines(results: Results, memory: Sequence[str]) -> Iterator[str]:
    """Yield the lines of the report; ``memory``: of each service, as ``Memory`` says it."""
    yield from _table(results)
    yield ""
    rate = results.cases / results.seconds if results.seconds else 0.0
    yield f"{results.cases:,} cases in {results.seconds:.1f} s ({rate:.0f} in a second)"
    yield "reasons: " + ", ".join(f"{reason} {count:,}" for reason, count in results.reasons.most_common())
    yield from _reached(results)
    yield "slowest: " + "; ".join(f"{took:.1f} s, case {number}: {what}" for took, number, what in _slowest(results))
    yield from memory
    yield from _problems(results)


def _table(results: Results) -> Iterator[str]:
    by_mutation: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for (mutation, code), count in results.ended.items():
        by_mutation[mutation][code] += count
    width = max(map(len, by_mutation), default=0)
    for mutation, codes in sorted(by_mutation.items()):
        counts = ", ".join(f"{code} {count:,}" for code, count in codes.most_common())
        yield f"{mutation:<{width}} {codes.total():>7,}  {counts}"


def _reached(results: Results) -> Iterator[str]:
    """Name the RPCs of which no case was taken: nothing behind their rules was tried."""
    tried = {rpc for rpc, _ in results.rpcs}
    never = tried - {rpc for rpc, taken in results.rpcs if taken}
    yield f"RPCs: {len(tried)}; of which none was taken: {', '.join(sorted(never)) or 'none'}"


def _slowest(results: Results) -> list[tuple[float, int, str]]:
    return sorted(results.slowest, reverse=True)


def _problems(results: Results) -> Iterator[str]:
    yield f"problems: {len(results.problems)}"
    for problem in results.problems[:SHOWN]:
        yield f"  {problem}"
    if len(results.problems) > SHOWN:
        yield f"  and {len(results.problems) - SHOWN} more"
