"""Which transport the servers of a run have: ``script/test --transport=native`` takes the other one.

What cannot hold on ``native`` is skipped there, for a reason that ``not_on_native`` has, or because the server refused
a setting of the test by its name.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from chassis.settings import WrongSetting
from tests.harness.not_on_native import REASONS

# What chooses the transport, and the settings that it refuses by their defaults.
NATIVE = {"GRPC_TRANSPORT": "native", "GRPC_MAX_CONNECTION_IDLE_MS": "0"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the name of a transport."""
    parser.addoption("--transport", choices=("grpcio", "native"), default="grpcio", help="what carries calls")


def pytest_configure(config: pytest.Config) -> None:
    """Have all servers of the run, and those in processes of their own, read the choice."""
    if config.getoption("transport") == "native":
        os.environ.update(NATIVE)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot hold on the transport."""
    if config.getoption("transport") == "native":
        for item in items:
            if reason := _reason(item.nodeid):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Skip a test whose fixtures ask for what the transport refuses."""
    yield from _skipped_where_refused(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Skip a test that asks for what the transport refuses."""
    yield from _skipped_where_refused(item)


def _skipped_where_refused(item: pytest.Item) -> Iterator[None]:
    try:
        yield
    except WrongSetting as refusal:
        if item.config.getoption("transport") != "native" or "GRPC_TRANSPORT=native" not in str(refusal):
            raise
        pytest.skip(str(refusal))


def _reason(name: str) -> str | None:
    """Return why a test cannot hold; its file, the function or one of its cases is listed."""
    file, _, case = name.partition("::")
    function = case.partition("[")[0]
    return next((REASONS[each] for each in (name, f"{file}::{function}", file) if each in REASONS), None)
