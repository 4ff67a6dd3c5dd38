"""The status report of the users service; a section that fails does not affect the others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.cli import CommandFailed
from chassis.commands.pools_report import pools
from chassis.commands.report import NotAvailable, Report, Section
from chassis.errors import ServiceError
from chassis.schema import listed
from users_service.migrations import runner
from users_service.mysql.database import Database
from users_service.mysql.driver_errors import DENIED, error_number
from users_service.settings import DatabaseSettings, Settings
from users_service.status import replication, server, slow_queries, storage

SERVICE: Final = "users-service"


@dataclass(frozen=True, slots=True)
class SectionReader:
    """A section, the function that reads it, and the privilege that it takes."""

    name: str
    read: Callable[[AsyncConnection], Awaitable[Section]]
    right: str


async def status(settings: DatabaseSettings) -> Report:
    """Look at the database. Each section has the query timeout; a database that is away raises nothing."""
    report = Report(SERVICE)
    async with Database(settings) as database:
        await _migrations(settings, report)
        for part in _parts(settings):
            report.sections.append(await _section(database, part, report))
    report.sections.append(await replication.replicas(settings))
    report.sections.append(await pools(settings, _metrics_port(settings)))
    return report


def _metrics_port(settings: DatabaseSettings) -> int:
    # The default of `serve`.
    served = Settings.model_fields["metrics_port"].default
    return settings.metrics_port if "metrics_port" in settings.model_fields_set else int(served)


def _parts(settings: DatabaseSettings) -> list[SectionReader]:
    slow = partial(slow_queries.slow_queries, slow_ms=settings.slow_query_ms)
    return [
        SectionReader("versions", server.versions, "CONNECT"),
        SectionReader("connections", server.connections, "SELECT ON performance_schema.processlist"),
        SectionReader("tables", storage.tables, "SELECT on the database"),
        SectionReader("indexes", storage.indexes, "SELECT on the database"),
        SectionReader("replication", replication.replication, replication.RIGHT),
        SectionReader("binary_log", replication.binary_log, "REPLICATION CLIENT (MariaDB: BINLOG MONITOR) ON *.*"),
        SectionReader("slow_queries", slow, "SELECT ON performance_schema.*, and on mysql.slow_log"),
    ]


async def _migrations(settings: DatabaseSettings, report: Report) -> None:
    try:
        found = await runner.look(settings)
    except CommandFailed as error:
        report.problems.append(str(error))
        report.sections.append(Section("migrations", reason="the database did not answer"))
        return
    row = {
        "applied": max((*found.applied, *found.unknown), default=None),
        "latest": max((*found.applied, *found.pending)),
        "pending": len(found.pending),
    }
    notes = [f"newer than this version: {listed(found.unknown)}"] if found.newer else []
    report.sections.append(Section("migrations", [row], notes))
    if found.pending:
        report.problems.append(f"{len(found.pending)} migrations are pending: run `{SERVICE} migrate up`")
    elif problem := found.problem(SERVICE):
        report.problems.append(problem)


async def _section(database: Database, part: SectionReader, report: Report) -> Section:
    if report.problems and report.sections[0].reason:
        # The server did not answer a moment ago, so the other sections do not wait for it, too.
        return Section(part.name, reason=report.sections[0].reason)
    try:
        async with database.connection() as connection:
            return await _read(part, connection)
    except NotAvailable as why:
        return Section(part.name, reason=str(why))
    except ServiceError:
        return Section(part.name, reason="the database did not answer in time (MYSQL_QUERY_TIMEOUT_MS)")


async def _read(part: SectionReader, connection: AsyncConnection) -> Section:
    try:
        return await part.read(connection)
    except DBAPIError as error:
        if error_number(error) in DENIED:
            raise NotAvailable(f"this account may not look; GRANT {part.right}") from None
        if error.connection_invalidated:
            raise
        raise NotAvailable(f"the server answered error {error_number(error)}") from None
