"""The catalog of what ``explain`` explains, and the text of its report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner

from chassis.commands.cli import CommandFailed
from chassis.commands.explain import Catalog, explain_command
from chassis.commands.report import Report
from chassis.settings import ServerSettings


@dataclass(frozen=True)
class Example:
    """A statement by its name alone."""

    name: str


GET, CLAIM = Example("users.get"), Example("keys.claim")
CATALOG = Catalog("statement", (GET, CLAIM), {"mysql.ping": "reads no table"}, {"keys.keep": "keys.claim"})


def test_every_statement_has_a_name_to_ask_for() -> None:
    """``--list`` tells of those with examples, of those that others send, and of those without a plan."""
    assert CATALOG.names() == ["keys.claim", "keys.keep", "mysql.ping", "users.get"]


@pytest.mark.parametrize(
    ("wanted", "chosen"), [(None, (GET, CLAIM)), ("users.get", [GET]), ("keys.keep", [CLAIM])], ids=str
)
def test_a_name_chooses_its_examples(wanted: str | None, chosen: Any) -> None:
    """No name means all; a statement that another one's example sends is found there."""
    assert CATALOG.chosen(wanted) == chosen


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("mysql.ping", "mysql.ping has no plan: reads no table"),
        ("users.got", "there is no statement users.got; there are: keys.claim, keys.keep, mysql.ping, users.get"),
    ],
)
def test_a_name_without_a_plan_says_why(wanted: str, text: str) -> None:
    """Whoever asks for what cannot be explained learns the reason, or the names that there are."""
    with pytest.raises(CommandFailed, match=text):
        CATALOG.chosen(wanted)


@pytest.mark.parametrize(("arguments", "shown"), [([], False), (["users.get"], True)])
def test_one_statement_is_shown_with_its_text(arguments: list[str], shown: bool) -> None:
    """The list of all plans stays readable: texts of statements come with one that was asked for."""

    async def explain(_: ServerSettings, wanted: str | None) -> Report:
        return CATALOG.report("users-service", wanted, [{"name": "users.get", "statement": "SELECT 1"}], "a note")

    result = CliRunner().invoke(explain_command(ServerSettings, CATALOG, explain, description="Explain."), arguments)
    assert ("SELECT 1" in result.output, "(a note)" in result.output, "without plan" in result.output) == (
        shown,
        True,
        not shown,
    )
