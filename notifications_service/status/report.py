"""The status report of the notifications service; a section that fails does not affect the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import pymongo
from pymongo.errors import OperationFailure, PyMongoError

from chassis.clock import Clock
from chassis.commands.cli import CommandFailed
from chassis.commands.pools_report import pools, served_port
from chassis.commands.report import NotAvailable, Report, Section
from chassis.commands.status import SectionReader, add_parts, pending_problem
from chassis.errors import ServiceError
from notifications_service.clock import in_milliseconds
from notifications_service.migrations import mending
from notifications_service.migrations.runner import Runner, Status
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.driver_errors import distrust
from notifications_service.settings import DatabaseSettings, Settings
from notifications_service.status import replication, server, slow_commands, storage

SERVICE: Final = "notifications-service"
_DENIED: Final = 13


async def status(settings: DatabaseSettings, clock: Clock) -> Report:
    """Look at the database. Each section has the query timeout; a database that is away raises nothing."""
    report, seconds = Report(SERVICE), settings.mongodb_query_timeout_ms / 1000
    database = Database(settings)
    try:
        await _migrations(database, report, seconds, clock)
        await add_parts(report, _parts(clock), partial(_section, database, seconds))
    finally:
        await database.close()
    report.sections.append(await pools(settings, served_port(settings, Settings)))
    return report


def _parts(clock: Clock) -> list[SectionReader[Database]]:
    slow = partial(slow_commands.slow_commands, clock=clock)
    return [
        SectionReader("versions", server.versions, "clusterMonitor on admin"),
        SectionReader("connections", server.connections, "clusterMonitor on admin"),
        SectionReader("collections", storage.collections, "read on the database"),
        SectionReader("indexes", storage.indexes, "read on the database"),
        SectionReader("replication", replication.replication, "clusterMonitor on admin"),
        SectionReader("oplog", replication.oplog, "clusterMonitor on admin, and read on local"),
        SectionReader("slow_commands", slow, "clusterMonitor on admin"),
    ]


async def _migrations(database: Database, report: Report, seconds: float, clock: Clock) -> None:
    try:
        # The outer limit is needed because pymongo.timeout() also sets how long a server is looked for.
        async with asyncio.timeout(seconds):
            await database.default.command("ping")
        with pymongo.timeout(seconds):
            steps = await Runner(database.default, lambda _: None, in_milliseconds(clock)).status()
            gone = await mending.missing(database.default)
    except CommandFailed as error:
        report.problems.append(str(error))
        report.sections.append(Section("migrations", notes=[str(error)]))
        return
    except (PyMongoError, TimeoutError) as error:
        report.problems.append(f"the database is away: {distrust(error) or type(error).__name__}")
        report.sections.append(Section("migrations", reason="the database did not answer"))
        return
    pending = [step for step in steps if step.applied_at is None]
    own = [step for step in steps if step.known]
    row = {
        "applied": max((step.number for step in steps if step.applied_at is not None), default=None),
        "latest": own[-1].number,
        "pending": len(pending),
    }
    report.sections.append(Section("migrations", [row], _notes(steps)))
    if pending:
        report.problems.append(pending_problem(len(pending), SERVICE))
    elif gone and len(own) == len(steps):
        report.problems.append(f"{', '.join(gone)} missing: run `{SERVICE} migrate up`")


def _notes(steps: Sequence[Status]) -> list[str]:
    changed = [step.title for step in steps if step.changed]
    newer = [step.title for step in steps if not step.known]
    notes = [f"changed since they were applied: {', '.join(changed)}"] if changed else []
    return notes + ([f"newer than this version: {', '.join(newer)}"] if newer else [])


async def _section(database: Database, seconds: float, part: SectionReader[Database]) -> Section:
    try:
        with pymongo.timeout(seconds):
            return await part.read(database)
    except OperationFailure as error:
        if error.code == _DENIED:
            raise NotAvailable(f"this account may not look; it takes the role {part.right}") from None
        raise NotAvailable(f"the server answered error {error.code}") from None
    except (PyMongoError, ServiceError):
        raise NotAvailable("the database did not answer in time (MONGODB_QUERY_TIMEOUT_MS)") from None
