"""What the default run takes of tests that have many cases, so that it stays short; `--all` takes every case.

Three rules, each of which marks as `long` what the default leaves out:

- Of MongoDB's two drivers, and of both transports, a test takes one: each has about half of the tests.
- Of a test marked `sampled(n)`, n cases are taken; with `sampled(n, each="rpc")`, n for each value of its `rpc`.
- Of another test on databases one case is taken.

Those that are taken are evenly spread, and begin where the test's name says: they are the same in every run, and others
from test to test. Of hypothesis's examples and simulated schedules (tests/harness/simulation/schedules.py) there are
fewer, too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from functools import partial
from typing import Any, Final
from zlib import crc32

import pytest
from hypothesis import settings

# Ways to the same behaviour.
ALIKE: Final = ({"pymongo", "motor"}, {"grpcio", "native"})
# Examples of a test that does not say how many.
EXAMPLES: Final = 15
# Cases of a test in these folders that does not say how many.
ON_DATABASES: Final = ("tests/integration/", "tests/fault/")
CASES: Final = 1


class Run:
    """What the command line asks for."""

    # Whether all cases of all tests are.
    is_whole = True


def pytest_configure(config: pytest.Config) -> None:
    """See whether the long tests are asked for, and take fewer examples where they are not."""
    Run.is_whole = "not long" not in config.getoption("-m")
    if not Run.is_whole:
        settings.register_profile("sampled", settings.get_profile("patient"), max_examples=EXAMPLES)
        settings.load_profile("sampled")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is left to `--all`, before pytest chooses by marks."""
    cases = [item for item in items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    for ways in ALIKE:
        for name, each in _grouped(cases, partial(_but_for_the_way, ways)).items():
            _keep(1, name, each)
    for name, each in _grouped(cases, _but_for_the_sample).items():
        mark = each[0].get_closest_marker("sampled")
        _keep(CASES if mark is None else mark.args[0], name, each)


def spread(count: int, size: int, start: int) -> set[int]:
    """Return so many indices of a list of this size, evenly spread, beginning anywhere."""
    count = min(count, size)
    return {(start + number * size // count) % size for number in range(count)}


def _but_for_the_way(ways: set[str], case: pytest.Function) -> str | None:
    """Return what the cases that differ in nothing but the way have in common; None for one that goes none of them."""
    parts = case.name.rstrip("]").replace("[", "-").split("-")
    return None if ways.isdisjoint(parts) else "-".join(part for part in parts if part not in ways)


def _but_for_the_sample(case: pytest.Function) -> str | None:
    mark = case.get_closest_marker("sampled")
    if mark is None:
        return str(case.originalname) if case.nodeid.startswith(ON_DATABASES) else None
    return f"{case.originalname}-{case.callspec.params.get(mark.kwargs.get('each', ''))}"


def _grouped(cases: Iterable[pytest.Function], name_of: Any) -> dict[str, list[pytest.Function]]:
    """Return the cases that are not long yet, by the name that they have in common and the file that they are in."""
    groups: defaultdict[str, list[pytest.Function]] = defaultdict(list)
    for case in cases:
        if case.get_closest_marker("long") is None and (name := name_of(case)) is not None:
            groups[f"{case.nodeid.partition('::')[0]}::{name}"].append(case)
    return groups


def _keep(count: int, name: str, cases: list[pytest.Function]) -> None:
    kept = spread(count, len(cases), crc32(name.encode()))
    for number, case in enumerate(cases):
        if number not in kept:
            case.add_marker(pytest.mark.long)
