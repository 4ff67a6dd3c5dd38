"""Keeps the report of a run short: the end of what a failed test has said, and each reason in the list at the end.

Of a test that ran out of time it shows what each of its tasks was waiting for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any, Final

import pytest

# Of each section: output, log, errors; of the setup, the call and the teardown.
LINES: Final = 40
# Characters of a line in a report that is read in a file.
WIDTH: Final = 200
# How pytest-timeout says that a test ran out of time.
_OUT_OF_TIME: Final = "Timeout (>"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the tasks of a test that ran out of time; its loop is closed later."""
    report = yield
    if call.excinfo is not None and _OUT_OF_TIME in str(call.excinfo.value) and isinstance(item, pytest.Function):
        runners = [value for value in item.funcargs.values() if isinstance(value, asyncio.Runner)]
        tasks = [task for runner in runners for task in asyncio.all_tasks(runner.get_loop())]
        report.sections.append(("Tasks that did not end", "\n".join(sorted(map(waiting, tasks)))))
    return report


def waiting(task: asyncio.Task[Any]) -> str:
    """Say in a line where a task waits: its coroutines, each with the place at which it waits for the next."""
    frames = list[FrameType]()
    # A generator's, or an asynchronous generator's, names differ in their first letters.
    part: Any = task.get_coro()
    while part is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(part, f"{kind}_frame")), None)
        if kind is None or (frame := getattr(part, f"{kind}_frame")) is None:
            break
        frames.append(frame)
        part = getattr(part, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    places = (f"{each.f_code.co_name} ({Path(each.f_code.co_filename).name}:{each.f_lineno})" for each in frames)
    return f"{task.get_name()}: {' > '.join(places)}"


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Cut what was captured, before the terminal has it."""
    report.sections = [(name, end_of(text)) for name, text in report.sections]


def end_of(text: str) -> str:
    """Return the last lines of a text, and how many there were before."""
    lines = text.splitlines(keepends=True)
    left_out = len(lines) - LINES
    return text if left_out <= 0 else f"… {left_out} lines before …\n{''.join(lines[-LINES:])}"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Leave room for the reason behind each failure and error in the list at the end, which is cut to the width."""
    writer = terminalreporter.config.get_terminal_writer()
    if not writer.hasmarkup:
        writer.fullwidth = WIDTH
