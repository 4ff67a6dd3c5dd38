"""The ``explain`` command, and the catalog of what it explains: a service's named statements, by example."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import click

from chassis.commands import cli
from chassis.commands.report import Report, ReportRow, Section
from chassis.commands.tables import room, table, wrapped
from chassis.settings import ServerSettings, load

S = TypeVar("S", bound=ServerSettings)


class Named(Protocol):
    """An example of one statement."""

    @property
    def name(self) -> str:
        """The statement's name."""


E = TypeVar("E", bound=Named)


@dataclass(frozen=True, slots=True)
class Catalog(Generic[E]):
    """All named statements of a service."""

    word: str
    """What its database calls a statement; rows of plans have the text under this name."""
    examples: Sequence[E]
    without_plan: Mapping[str, str]
    """Statements that have no plan, with the reason."""
    together: Mapping[str, str] = field(default_factory=dict)
    """Statements that the example of another one sends, by that one's name."""

    def names(self) -> list[str]:
        """Return the names of all statements."""
        return sorted({*(example.name for example in self.examples), *self.together, *self.without_plan})

    def chosen(self, wanted: str | None) -> Sequence[E]:
        """Return the examples of a name; None: all. Raises CommandFailed for one that is not there or has no plan."""
        if wanted is None:
            return self.examples
        if wanted in self.without_plan:
            raise cli.CommandFailed(f"{wanted} has no plan: {self.without_plan[wanted]}")
        found = [example for example in self.examples if example.name == self.together.get(wanted, wanted)]
        if not found:
            raise cli.CommandFailed(f"there is no {self.word} {wanted}; there are: {', '.join(self.names())}")
        return found

    def report(self, service: str, wanted: str | None, rows: Sequence[ReportRow], note: str) -> Report:
        """Return the report of the plans, with what has none where all were wanted."""
        sections = [Section("plans", rows, [note])]
        if wanted is None:
            reasons = [{"name": name, "reason": reason} for name, reason in self.without_plan.items()]
            sections.append(Section("without_plan", reasons))
        return Report(service, sections)


def explain_command(
    settings_class: type[S],
    catalog: Catalog[Any],
    explain: Callable[..., Coroutine[Any, Any, Report]],
    *options: Callable[[Any], Any],
    description: str,
) -> click.Command:
    """Return the command that prints the plans of all statements, or of one with its text.

    ``explain`` takes the settings, the name or None, and as keywords what ``options`` of its own add.
    """

    def command(name: str | None, listed: bool, as_json: bool, **chosen: Any) -> None:
        if listed:
            click.echo("\n".join(catalog.names()))
            return
        with cli.logs_on_stderr():
            report = cli.run(explain(load(settings_class), name, **chosen))
        click.echo(report.as_json() if as_json else _text(report, catalog.word, whole=name is not None))

    return click.command("explain", help=description)(cli.with_options(command, *_parameters(catalog.word, options)))


def _parameters(word: str, options: Sequence[Callable[[Any], Any]]) -> Sequence[Callable[[Any], Any]]:
    return (
        click.argument("name", required=False),
        click.option("--list", "listed", is_flag=True, help="Only list the names."),
        *options,
        click.option(
            "--json", "as_json", is_flag=True, help=f"Plans and {word}s as JSON, in the shape of `status --json`."
        ),
    )


def _text(report: Report, word: str, *, whole: bool) -> str:
    columns = room()
    return "\n".join(line for section in report.sections for line in _lines(section, word, columns, whole=whole))


def _lines(section: Section, word: str, columns: int | None, *, whole: bool) -> list[str]:
    rows = [{column: value for column, value in row.items() if column != word} for row in section.rows]
    texts = dict.fromkeys(row[word] for row in section.rows if word in row) if whole else ()
    told = [*(f"({note})" for note in section.notes), *texts]
    lines = [section.name.replace("_", " "), *(f"  {line}" for line in table(rows, columns and columns - 2))]
    return [*lines, *(line for text in told for line in wrapped(text, columns, "  "))]
