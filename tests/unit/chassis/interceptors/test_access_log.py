"""Access lines put together by hand say what a JSON serialiser would."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.interceptors.access_log import Entry, JsonLines, write_readably
from tests.unit.chassis.conftest import Log


def _entry(reason: str = "", peer: str = "ipv4:127.0.0.1:1", seconds: float = 0.0125, trace_id: str = "") -> Entry:
    now = monotonic()
    return ("/a.B/C", "OK", reason, "abc-1", now - seconds, now, peer, trace_id)


def _written(*entries: Entry) -> list[dict[str, object]]:
    pieces: list[bytes] = []
    JsonLines(pieces.append)(list(entries))
    return [json.loads(line) for line in b"\n".join(pieces).splitlines()]


def test_a_line_has_every_field() -> None:
    """Method, code, time taken, peer and request id; a reason only when there is one."""
    first, second = _written(_entry(), _entry(reason="EMAIL_TAKEN"))
    assert first.pop("timestamp")
    assert first == {
        "level": "info",
        "event": "rpc",
        "method": "/a.B/C",
        "code": "OK",
        "ms": pytest.approx(12.5, abs=0.002),
        "peer": "ipv4:127.0.0.1:1",
        "request_id": "abc-1",
    }
    assert second["reason"] == "EMAIL_TAKEN"


def test_the_time_is_that_of_the_end_of_the_call() -> None:
    """Lines written later keep the time at which their call ended, in UTC."""
    (line,) = _written(_entry())
    ended = datetime.fromisoformat(str(line["timestamp"]))
    assert ended.tzinfo == UTC
    assert abs(datetime.now(UTC) - ended) < timedelta(seconds=2)


@given(st.text(max_size=60))
def test_no_peer_breaks_its_line(peer: str) -> None:
    """A socket's path may have any character; the line stays one JSON object."""
    (line,) = _written(_entry(peer=peer))
    assert line["peer"] == peer


@pytest.mark.parametrize("seconds", [0.0, 0.000_000_4, 1e-5, 0.0015, 59.9999, 86_400])
def test_durations_are_numbers(seconds: float) -> None:
    """The shortest and the longest call give a JSON number of milliseconds."""
    (line,) = _written(_entry(seconds=seconds))
    assert line["ms"] == pytest.approx(seconds * 1_000, abs=0.002)


def test_many_peers_are_forgotten_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The peers remembered for their escaped form are bounded."""
    monkeypatch.setattr("chassis.interceptors.access_log._MAX_PEERS", 10)
    lines = JsonLines(lambda _: None)
    lines([_entry(peer=str(number)) for number in range(1_000)])
    assert len(lines._peers) <= 10


def test_people_get_the_same_fields(log: Log) -> None:
    """The readable form has what the JSON form has."""
    write_readably([_entry(reason="EMAIL_TAKEN")])
    (line,) = log.lines
    assert (line["event"], line["code"], line["reason"]) == ("rpc", "OK", "EMAIL_TAKEN")
    assert line["ms"] == pytest.approx(12.5, abs=0.002)


def test_a_traced_call_has_the_id_of_its_trace() -> None:
    """The line of a traced call leads to its trace, whether the call failed or not; others have no such field."""
    plain, good, bad = _written(_entry(), _entry(trace_id="4bf9"), _entry(trace_id="4bf9", reason="EMAIL_TAKEN"))
    assert "trace_id" not in plain
    assert (good["trace_id"], bad["trace_id"], bad["reason"]) == ("4bf9", "4bf9", "EMAIL_TAKEN")
