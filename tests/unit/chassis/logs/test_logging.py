"""Logs: one JSON object a line, no secrets, no text of foreign exceptions, and no lost warnings."""

from __future__ import annotations

import json
import logging as standard
from io import BytesIO

import pytest

from chassis.context import calls
from chassis.logs import logging
from tests.unit.chassis.conftest import Log


@pytest.mark.parametrize("key", ["password", "session_token", "SECRET_KEYS", "authorization"])
def test_a_field_named_like_a_secret_is_removed(log: Log, key: str) -> None:
    """A careless log call does not put a secret into the log."""
    logging.get("test").info("signed in", **{key: "hunter2", "user_id": "u"})
    assert "hunter2" not in log.text
    assert log.lines[0]["user_id"] == "u"


def test_a_line_carries_the_request_id(log: Log) -> None:
    """Lines of one call can be found together."""
    calls.enter(calls.Call("/a/b", ((calls.REQUEST_ID_KEY, "abc"),)))
    logging.get("test").info("hello")
    line = log.lines[0]
    assert (line["request_id"], line["logger_name"], line["level"], line["event"]) == ("abc", "test", "info", "hello")


def test_warnings_of_libraries_come_through_without_exception_texts(log: Log) -> None:
    """The standard library's log goes the same way, and its exceptions lose their text."""
    error = ValueError("SELECT 'hunter2'")
    standard.getLogger("driver").error("failed", exc_info=error)
    standard.getLogger("driver").info("chatter")
    (line,) = log.lines
    assert (line["logger_name"], line["level"], line["error"][0]) == ("driver", "error", "ValueError")
    assert "hunter2" not in log.text


@pytest.mark.parametrize("value", ["half \udcff of a pair", 1 << 70, {1, 2}, {5: object()}, float("nan")])
def test_no_value_keeps_a_line_from_being_written(log: Log, value: object) -> None:
    """What JSON has no form for is written somehow, and never raises where it is logged."""
    logging.get("test").info("hello", value=value)
    assert log.lines[0]["event"] == "hello"


async def test_lines_wait_in_a_loop_and_warnings_do_not() -> None:
    """Lines of calls are written in batches; a warning takes all waiting lines with it, in order."""
    stream = BytesIO()
    logging.configure("info", "json", stream)
    log = logging.get("test")
    log.info("first")
    assert stream.getvalue() == b""
    log.warning("second")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["first", "second"]


def test_a_level_turns_lines_off() -> None:
    """With level warning, neither info lines nor access lines are made."""
    stream = BytesIO()
    logging.configure("warning", "json", stream)
    logging.get("test").info("hello")
    assert not logging.is_enabled("info")
    assert stream.getvalue() == b""


def test_a_terminal_gets_readable_lines() -> None:
    """Console lines name the event and show the frames of an error below it."""
    stream = BytesIO()
    logging.configure("info", "console", stream)
    logging.get("test").error("broken", exc_info=OSError(13, "x"))
    first, second, *_ = stream.getvalue().decode().splitlines()
    assert "broken" in first
    assert second == "PermissionError(13)"


def test_a_reader_that_went_away_stops_nothing() -> None:
    """A closed pipe loses lines and raises nothing."""
    stream = BytesIO()
    logging.configure("info", "json", stream)
    stream.close()
    logging.get("test").warning("nobody reads this")
