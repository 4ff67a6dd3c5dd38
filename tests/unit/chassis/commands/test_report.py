"""Reports as a person and as a program read them."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from chassis.commands.report import Report, ReportRow, Section, version_of
from chassis.commands.tables import shown


def test_a_report_is_one_shape_for_programs() -> None:
    """Every section says whether it is available; rows have all columns; times say that they are in UTC."""
    report = Report("users-service", [Section("tables", [{"a": 1}, {"b_bytes": 2}], ["so"]), Section("x", reason="no")])
    report.sections.append(Section("times", [{"at": datetime(2026, 1, 2, 3, 4, 5)}]))  # noqa: DTZ001 - as drivers read it
    told = json.loads(report.as_json())
    assert told["ok"] is True
    assert told["sections"]["tables"] == {
        "available": True,
        "rows": [{"a": 1, "b_bytes": None}, {"a": None, "b_bytes": 2}],
        "notes": ["so"],
    }
    assert told["sections"]["x"] == {"available": False, "reason": "no"}
    assert told["sections"]["times"]["rows"] == [{"at": "2026-01-02T03:04:05+00:00"}]
    report.problems.append("away")
    assert json.loads(report.as_json())["ok"] is False


def test_a_report_is_tables_for_a_person() -> None:
    """Columns are aligned, numbers to the right; what is missing is said in its place."""
    rows: list[ReportRow] = [
        {"name": "a", "size_bytes": 2_048, "n": 1_234},
        {"name": "bcdef", "size_bytes": None, "n": 5},
    ]
    report = Report("s", [Section("big_tables", rows, ["estimates"]), Section("x", reason="off")], ["gone"])
    assert report.as_text().splitlines() == [
        "big tables",
        "  name      size      n",
        "  a      2.0 KiB  1,234",
        "  bcdef        -      5",
        "  (estimates)",
        "",
        "x",
        "  not available: off",
        "",
        "not looked at: x: off",
        "problem: gone",
    ]


def test_that_nothing_is_wrong_is_said_only_of_what_was_looked_at() -> None:
    """A section, or a part of one, that could not be looked at is named where a person reads the verdict."""
    seen = Section("tables", [{"n": 1}], ["counted"])
    assert Report("s", [seen]).as_text().splitlines()[-1] == "no problem found"
    half = Section("big_indexes", [{"n": 1}], ["counted"], missing=["sizes: GRANT it", "reads: off"])
    report = Report("s", [seen, half, Section("log", reason="GRANT that")])
    assert report.as_text().splitlines()[-4:] == [
        "not looked at: big indexes: sizes: GRANT it",
        "not looked at: big indexes: reads: off",
        "not looked at: log: GRANT that",
        "no problem found in what was looked at",
    ]
    told = json.loads(report.as_json())
    assert told["not_looked_at"] == {"big_indexes": ["sizes: GRANT it", "reads: off"], "log": ["GRANT that"]}
    assert told["sections"]["big_indexes"]["notes"] == ["counted", "sizes: GRANT it", "reads: off"]
    assert report.ok


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("up_seconds", 59.5, "59.5 s"),
        ("up_seconds", 90, "1.5 min"),
        ("up_seconds", 86_400 * 3, "3.0 d"),
        ("data_bytes", 0, "0 B"),
        ("data_bytes", 3 * 1024**4, "3.0 TiB"),
        ("on", True, "yes"),
        ("n", 1_000_000, "1,000,000"),
    ],
)
def test_values_have_units(name: str, value: float, text: str) -> None:
    """Sizes and times are read without counting digits."""
    assert shown(name, value) == text


def test_a_version_is_told_also_of_what_is_not_installed() -> None:
    """A service that runs from its sources still tells everything else."""
    assert version_of("pytest") == pytest.__version__
    assert version_of("no-such-distribution") == "unknown"
