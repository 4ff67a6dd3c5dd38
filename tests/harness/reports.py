"""Keeps the report of a run short: the end of what a failed test has said, and each reason in the list at the end."""

from __future__ import annotations

from typing import Final

import pytest

# Of each section: output, log, errors; of the setup, the call and the teardown.
LINES: Final = 40
# Characters of a line in a report that is read in a file.
WIDTH: Final = 200


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
