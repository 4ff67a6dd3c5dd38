"""Decisions have one form, and an index that names each of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

FOLDER: Final = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS: Final = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
TITLE: Final = re.compile(r"# (\d{4}) (\S.*)")
# What may stand between the title and the context: that another record holds now, in whole or in part.
MARK: Final = re.compile(r"(Superseded|Corrected) by \[\d{4}\]")

each_record = pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)


def without_code(record: Path) -> str:
    """Return the text of a record without its blocks of code."""
    return re.sub(r"```.*?```", "", record.read_text(), flags=re.DOTALL)


@each_record
def test_a_record_has_the_one_form(record: Path) -> None:
    """Whoever reads one decision knows where to look in all: context first, then the choice, its cost last."""
    text = without_code(record)
    title = TITLE.match(text)
    assert title is not None
    assert title[1] == record.name[:4]
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sections[0] == "Context"
    assert sections[-1] == "Cost"
    assert sections.count("Choice") == 1
    assert len(set(sections)) == len(sections)


@each_record
def test_only_a_mark_stands_before_the_context(record: Path) -> None:
    """A record holds unless it says by which other one it was superseded or corrected."""
    before = without_code(record).partition("\n")[2].partition("## Context")[0].strip()
    assert not before or MARK.match(before)


def test_every_number_is_there_once() -> None:
    """A decision can be named by its number."""
    numbers = [record.name[:4] for record in RECORDS]
    assert len(set(numbers)) == len(numbers)


def test_the_index_has_a_line_for_each_record() -> None:
    """The index says, in the order of the numbers, what was decided and what was chosen for it."""
    lines = re.findall(
        r"^\| (\d{4}) \| \[(.+)\]\((.+?)\) \| (\S.*) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE
    )
    expected = [(record.name[:4], record.read_text().partition("\n")[0][7:], record.name) for record in RECORDS]
    assert [line[:3] for line in lines] == expected
