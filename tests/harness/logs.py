"""Logs of servers in a test's process: where they go, and how each test leaves logging as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog


def pytest_configure() -> None:
    """Send structlog's lines to the process's standard output, whatever becomes of ``sys.stdout``.

    structlog's default asks ``sys.stdout`` at every line. A server logs in a thread of its own, and before Python
    3.14 ``print`` borrows ``sys.stdout`` without keeping it: when ``capsys`` or ``redirect_stdout`` replaces
    it meanwhile, the process dies (python/cpython#130163).
    """
    output = open(1, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 - to the end
    # By default an exception is drawn with all that its frames hold, which takes seconds where rich is installed.
    render = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    processors = [*structlog.get_config()["processors"][:-1], render]
    structlog.configure(processors=processors, logger_factory=structlog.PrintLoggerFactory(output))


@pytest.fixture(autouse=True)
def logging_is_left_alone() -> Iterator[None]:
    """Undo what a test did to logging, for it would reach streams that are gone and the output of later commands."""
    root = logging.getLogger()
    configured, level = structlog.get_config(), root.level
    yield
    structlog.configure(**configured)
    root.setLevel(level)
    root.handlers[:] = [handler for handler in root.handlers if not type(handler).__module__.startswith("chassis.")]


@pytest.fixture
def logged() -> StringIO:
    """What servers in this process log from here on.

    For a test that looks again and again: `capfd` loses what is written between its reading and its clearing.
    """
    lines = StringIO()
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(lines))
    return lines
