"""The parts of a status report."""

from __future__ import annotations

from chassis.commands.report import NotAvailable, Report, Section
from chassis.commands.status import SectionReader, add_parts


async def there(name: str) -> Section:
    """Return a section."""
    return Section(name, [{"n": 1}])


async def denied(_: str) -> Section:
    """Say that this account may not look."""
    raise NotAvailable("GRANT it")


PARTS = (SectionReader("tables", denied, "SELECT"), SectionReader("sizes", there, "SELECT"))


async def read(part: SectionReader[str]) -> Section:
    """Read a part over a connection that is a word."""
    return await part.read(part.name)


async def test_a_part_that_cannot_be_had_hides_no_other() -> None:
    """Whoever lacks one right still sees the rest, and which right that is."""
    report = Report("users-service", [Section("migrations", [{"pending": 0}])])
    await add_parts(report, PARTS, read)
    assert [(section.name, section.reason) for section in report.sections[1:]] == [
        ("tables", "GRANT it"),
        ("sizes", ""),
    ]


async def test_nothing_more_is_asked_of_a_database_that_is_away() -> None:
    """The report of a database that does not answer takes one timeout, not one for each part."""
    report = Report("users-service", [Section("migrations", reason="the database did not answer")])
    await add_parts(report, PARTS, read)
    assert {section.reason for section in report.sections} == {"the database did not answer"}
