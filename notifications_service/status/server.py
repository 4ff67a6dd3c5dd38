"""Server sections: versions of the service, its driver and the server, and the server's connections."""

from __future__ import annotations

import platform

from pymongo.errors import OperationFailure

from chassis.commands.report import ReportRow, Section, version_of
from notifications_service.mongodb.database import Database


async def versions(database: Database) -> Section:
    """Return the versions of the service, its driver and the server."""
    server = await database.default.command("buildInfo")
    rows: list[ReportRow] = [
        {"part": "notifications-service", "version": version_of("vibework-services")},
        {"part": "Python", "version": platform.python_version()},
        {"part": "PyMongo", "version": version_of("pymongo")},
        {"part": "Motor", "version": version_of("motor")},
        {"part": "MongoDB", "version": server["version"]},
    ]
    try:
        status = await _admin(database, {"serverStatus": 1, "repl": 0, "metrics": 0, "locks": 0})
        rows[-1]["up_seconds"] = int(status["uptime"])
        compatible = await _admin(database, {"getParameter": 1, "featureCompatibilityVersion": 1})
        version_ = compatible["featureCompatibilityVersion"]["version"]
        rows.append({"part": "feature compatibility", "version": version_})
    except OperationFailure as error:
        return Section("versions", rows, missing=[f"error {error.code}: the role clusterMonitor tells more"])
    return Section("versions", rows)


async def connections(database: Database) -> Section:
    """Return the server's connections, in total and by application; the service's own pools are in its metrics."""
    status = await _admin(database, {"serverStatus": 1})
    counts = status["connections"]
    all_ = {
        "application": "(all)",
        "connections": counts["current"],
        "working": counts["active"],
        "limit": counts["current"] + counts["available"],
    }
    by_application = [
        {"$currentOp": {"allUsers": True, "idleConnections": True}},
        {"$match": {"client": {"$exists": True}}},
        {"$group": {"_id": "$appName", "n": {"$sum": 1}, "working": {"$sum": {"$cond": ["$active", 1, 0]}}}},
        {"$sort": {"n": -1}},
    ]
    answer = await _admin(database, {"aggregate": 1, "pipeline": by_application, "cursor": {}})
    rows = [
        {"application": row["_id"], "connections": row["n"], "working": row["working"]}
        for row in answer["cursor"]["firstBatch"]
    ]
    return Section("connections", [all_, *rows])


async def _admin(database: Database, command: ReportRow) -> ReportRow:
    answer: ReportRow = await database.driver.client.admin.command(command)
    return answer
