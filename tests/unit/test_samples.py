"""The default run's samples: every test is in it, under one of the drivers and with a few of its cases."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from _pytest.nodeid import NodeId

from tests.harness.samples import pytest_collection_modifyitems, spread

DRIVERS = ("pymongo", "motor")


@pytest.fixture
def module(request: pytest.FixtureRequest) -> pytest.Module:
    """This module."""
    found = request.node.getparent(pytest.Module)
    assert isinstance(found, pytest.Module)
    return found


def cases(module: pytest.Module, test: str, *params: dict[str, Any]) -> list[pytest.Item]:
    """Return what pytest makes of a test with these parameters."""
    made: list[Any] = []
    for each in params:
        name = f"{test}[{'-'.join(map(str, each.values()))}]"
        item: Any = pytest.Function.from_parent(module, name=name, originalname=test, callobj=lambda: None)
        item.callspec = SimpleNamespace(params=each)
        made.append(item)
    return made


def taken(items: list[pytest.Item]) -> list[str]:
    """Return the names of what the default run takes."""
    pytest_collection_modifyitems(items)
    return [item.name for item in items if item.get_closest_marker("long") is None]


def test_a_test_runs_under_one_driver_and_each_driver_has_its_share(module: pytest.Module) -> None:
    """None is left out, and neither driver is what only `--all` tries."""
    names = [f"test_{number}" for number in range(40)]
    chosen = taken([item for name in names for item in cases(module, name, *({"driver": each} for each in DRIVERS))])
    assert [name.partition("[")[0] for name in chosen] == names
    assert min(sum(driver in name for name in chosen) for driver in DRIVERS) > 10


def test_each_other_parameter_keeps_its_cases(module: pytest.Module) -> None:
    """The sample is of drivers: whatever else a test varies, it still does."""
    both = [{"driver": driver, "size": size} for size in (1, 2, 3) for driver in DRIVERS]
    assert [name.rpartition("-")[2] for name in taken(cases(module, "test_sizes", *both))] == ["1]", "2]", "3]"]


def test_of_a_sampled_test_some_cases_are_taken(module: pytest.Module) -> None:
    """As many as its mark says, of those that are not long anyway; a test that names no sample has all of them."""
    numbers = [{"number": number} for number in range(9)]
    items = cases(module, "test_many", *numbers)
    for item in items:
        item.add_marker(pytest.mark.sampled(3))
    items[4].add_marker(pytest.mark.long)
    chosen = taken([*items, *cases(module, "test_all", *numbers)])
    assert [name.partition("[")[0] for name in chosen] == ["test_many"] * 3 + ["test_all"] * 9


def test_of_a_test_on_databases_one_case_is_taken(module: pytest.Module) -> None:
    """Where it says nothing itself, and after one of the drivers."""
    both = [{"driver": driver, "number": number} for number in range(9) for driver in DRIVERS]
    items: list[Any] = [*cases(module, "test_many", *both)]
    for item in items:
        item._id = NodeId.parse(f"tests/integration/users/test_it.py::{item.name}")
    assert len(taken(items)) == 1


def test_a_sample_may_be_taken_of_each_value(module: pytest.Module) -> None:
    """Each RPC keeps a case, and not all of them the same."""
    items = cases(module, "test_rpcs", *({"rpc": rpc, "turn": turn} for rpc in range(20) for turn in range(3)))
    for item in items:
        item.add_marker(pytest.mark.sampled(1, each="rpc"))
    chosen = [name.removeprefix("test_rpcs[").rstrip("]").split("-") for name in taken(items)]
    assert [rpc for rpc, _ in chosen] == [str(rpc) for rpc in range(20)]
    assert {turn for _, turn in chosen} == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("count", "size", "start", "chosen"),
    [(1, 5, 0, {0}), (1, 5, 7, {2}), (2, 5, 0, {0, 2}), (3, 10, 8, {8, 1, 4}), (3, 2, 1, {0, 1})],
)
def test_a_sample_is_spread_over_all(count: int, size: int, start: int, chosen: set[int]) -> None:
    """Neighbours are often alike."""
    assert spread(count, size, start) == chosen
