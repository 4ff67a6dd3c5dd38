"""Replication sections: from which server this one replicates, how far behind it is, and its binary log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import RowMapping, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.commands.report import NotAvailable, ReportRow, Section
from chassis.errors import ServiceError
from users_service.mysql.database import Database
from users_service.mysql.driver_errors import error_number
from users_service.settings import DatabaseSettings
from users_service.status.server import is_mariadb

RIGHT: Final = "REPLICATION CLIENT (MariaDB: REPLICA MONITOR) ON *.*"


async def replication(connection: AsyncConnection) -> Section:
    """Return a row for each server that this one replicates from."""
    command = "SHOW ALL SLAVES STATUS" if await is_mariadb(connection) else "SHOW REPLICA STATUS"
    rows = [_source(row) for row in (await connection.execute(text(command))).mappings()]
    return Section("replication", rows, [] if rows else ["this server replicates from no other"])


def _source(row: RowMapping) -> dict[str, Any]:
    """Read a row by MySQL's names, or MariaDB's."""

    def value(mysql: str, mariadb: str) -> Any:
        return row[mysql] if mysql in row else row.get(mariadb)

    lag = value("Seconds_Behind_Source", "Seconds_Behind_Master")
    return {
        "channel": value("Channel_Name", "Connection_name") or None,
        "source": f"{value('Source_Host', 'Master_Host')}:{value('Source_Port', 'Master_Port')}",
        "receives": value("Replica_IO_Running", "Slave_IO_Running") == "Yes",
        "applies": value("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
        "lag_seconds": None if lag is None else int(lag),
        # The text of an error quotes statements.
        "last_error": int(row["Last_SQL_Errno"] or row["Last_IO_Errno"]) or None,
    }


async def replicas(settings: DatabaseSettings) -> Section:
    """Return the state of each of MYSQL_REPLICA_HOSTS, as it reports it."""
    rows, missing = [], []
    for endpoint in settings.replica_endpoints:
        server = f"{endpoint.host}:{endpoint.port}"
        there = settings.model_copy(update={"mysql_host": endpoint.host, "mysql_port": endpoint.port})
        try:
            rows += [{"server": server, **row} for row in await _followed(there)]
        except NotAvailable as why:
            missing.append(f"{server}: {why}")
    notes = [] if settings.replica_endpoints else ["MYSQL_REPLICA_HOSTS names none"]
    return Section("replicas", rows, notes, missing=missing)


async def _followed(settings: DatabaseSettings) -> Sequence[ReportRow]:
    try:
        async with Database(settings) as database, database.connection() as connection:
            return (await _answer(connection)).rows
    except ServiceError:
        raise NotAvailable("does not answer") from None


async def _answer(connection: AsyncConnection) -> Section:
    try:
        found = await replication(connection)
    except DBAPIError as error:
        raise NotAvailable(f"error {error_number(error)}; GRANT {RIGHT}") from None
    if not found.rows:
        raise NotAvailable("follows no other server")
    return found


async def binary_log(connection: AsyncConnection) -> Section:
    """Return the binary logs from which a recovery to a point in time is possible."""
    on = bool(await connection.scalar(text("SELECT @@log_bin")))
    row: dict[str, Any] = {"on": on, "server_id": await connection.scalar(text("SELECT @@server_id"))}
    if not on:
        return Section("binary_log", [row], ["no recovery to a point in time, and no replicas: start with --log-bin"])
    kept, synced = (await connection.execute(text("SELECT @@binlog_expire_logs_seconds, @@sync_binlog"))).one()
    row |= {"kept_seconds": kept or None, "synced_every_commit": synced == 1}
    files, missing = await _files(connection)
    return Section("binary_log", [row | files], missing=missing)


async def _files(connection: AsyncConnection) -> tuple[dict[str, Any], list[str]]:
    try:
        logs = (await connection.execute(text("SHOW BINARY LOGS"))).all()
    except DBAPIError as error:
        right = "BINLOG MONITOR" if await is_mariadb(connection) else "REPLICATION CLIENT"
        return {}, [f"files not available: error {error_number(error)}; GRANT {right} ON *.*"]
    return {
        "files": len(logs),
        "size_bytes": sum(int(log[1]) for log in logs),
        "first": logs[0][0] if logs else None,
    }, []
