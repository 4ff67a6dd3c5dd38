"""The status report of the users service; a section that fails does not affect the others."""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.cli import CommandFailed
from chassis.commands.pools_report import pools, served_port
from chassis.commands.report import NotAvailable, Report, Section
from chassis.commands.status import SectionReader, add_parts, pending_problem
from chassis.errors import ServiceError
from chassis.schema import listed
from users_service.migrations import runner
from users_service.mysql.database import Database
from users_service.mysql.driver_errors import DENIED, error_number
from users_service.mysql.server_settings import problems_of
from users_service.settings import DatabaseSettings, Settings
from users_service.status import events, replication, server, slow_queries, storage

SERVICE: Final = "users-service"


async def status(settings: DatabaseSettings) -> Report:
    """Look at the database. Each section has the query timeout; a database that is away raises nothing."""
    report = Report(SERVICE)
    async with Database(settings) as database:
        await _migrations(settings, report)
        await _server(database, report)
        await add_parts(report, _parts(settings), partial(_section, database))
    report.sections.append(await replication.replicas(settings))
    report.sections.append(await pools(settings, served_port(settings, Settings)))
    return report


def _parts(settings: DatabaseSettings) -> list[SectionReader[AsyncConnection]]:
    slow = partial(slow_queries.slow_queries, slow_ms=settings.slow_query_ms)
    return [
        SectionReader("versions", server.versions, "CONNECT"),
        SectionReader("connections", server.connections, "SELECT ON performance_schema.processlist"),
        SectionReader("tables", storage.tables, "SELECT on the database"),
        SectionReader("indexes", storage.indexes, "SELECT on the database"),
        SectionReader("events", events.events, "SELECT on the database"),
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
        report.problems.append(pending_problem(len(found.pending), SERVICE))
    elif problem := found.problem(SERVICE):
        report.problems.append(problem)


async def _server(database: Database, report: Report) -> None:
    if report.sections[0].reason:
        # It did not answer a moment ago.
        return
    try:
        async with database.connection() as connection:
            report.problems.extend(await problems_of(connection))
    except ServiceError as error:
        report.problems.append(str(error))


async def _section(database: Database, part: SectionReader[AsyncConnection]) -> Section:
    try:
        async with database.connection() as connection:
            return await _read(part, connection)
    except ServiceError:
        raise NotAvailable("the database did not answer in time (MYSQL_QUERY_TIMEOUT_MS)") from None


async def _read(part: SectionReader[AsyncConnection], connection: AsyncConnection) -> Section:
    try:
        return await part.read(connection)
    except DBAPIError as error:
        if error_number(error) in DENIED:
            raise NotAvailable(f"this account may not look; GRANT {part.right}") from None
        if error.connection_invalidated:
            raise
        raise NotAvailable(f"the server answered error {error_number(error)}") from None
