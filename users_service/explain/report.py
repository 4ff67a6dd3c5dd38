"""The report of ``explain``: all plans, and what each means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.clock import Clock
from chassis.commands.report import Report, ReportRow
from users_service.explain.catalog import CATALOG
from users_service.explain.examples import Example
from users_service.explain.explainer import Explainer, ExplainingDatabase, Plan
from users_service.explain.values import pick
from users_service.mysql.database import Database
from users_service.settings import DatabaseSettings

SERVICE: Final = "users-service"
FULL_SCAN: Final = "full scan!"
WHOLE_INDEX: Final = "whole index!"
_NOTE: Final = "rows are the server's estimates; plans of small tables say little"
# In place of the steps of a statement that the account may not explain.
_NOT_ALLOWED: Final[dict[str, Any]] = dict.fromkeys(("table", "key", "type", "rows"))
_LIMITED: Final = re.compile(r"\bLIMIT\b|GET_LOCK|RELEASE_LOCK", re.IGNORECASE)


async def explain(settings: DatabaseSettings, wanted: str | None, clock: Clock) -> Report:
    """Explain the statements of that name; None: all. Raises CommandFailed for a name that there is not.

    Raises DatabaseUnavailable.
    """
    examples = CATALOG.chosen(wanted)
    async with Database(settings) as database, database.connection() as connection:
        rows = [row async for row in _rows(connection, examples, clock)]
    if wanted is not None and any(row["name"] == wanted for row in rows):
        rows = [row for row in rows if row["name"] == wanted]
    return CATALOG.report(SERVICE, wanted, rows, _NOTE)


async def _rows(connection: AsyncConnection, examples: Sequence[Example], clock: Clock) -> Any:
    values = await pick(connection, clock())
    seen: set[tuple[str, str]] = set()
    for example in examples:
        explainer = Explainer(connection)
        explainer.rows = example.rows
        database = ExplainingDatabase(explainer).as_database
        with explainer.listening():
            await example.call(cast("AsyncConnection", explainer), database, values)
        for plan in explainer.plans:
            if (plan.name, plan.statement) not in seen and plan.name not in CATALOG.without_plan:
                seen.add((plan.name, plan.statement))
                for row in _steps(example, plan):
                    yield row


def _steps(example: Example, plan: Plan) -> Iterator[ReportRow]:
    for step in plan.steps or [_NOT_ALLOWED]:
        yield {
            "name": plan.name,
            "case": example.case or None,
            "kind": plan.statement.split()[0].lower(),
            "table": step["table"],
            "index": step["key"],
            "access": step["type"],
            "rows_estimate": None if step["rows"] is None else int(step["rows"]),
            "verdict": verdict(plan.statement, step) if plan.steps else "this account may not",
            "statement": plan.statement,
        }


def verdict(statement: str, step: dict[str, Any]) -> str:
    """Say what a step means: by which index, or a warning that ends in an exclamation mark."""
    if step["select_type"] == "INSERT" or statement.upper().startswith("INSERT"):
        return "inserts"
    if step["table"] is None or step["type"] is None:
        # 'no matching row in const table' or 'Impossible WHERE': decided by the key, or without reading a table.
        return "nothing to read"
    if step["table"].startswith("<"):
        return "result of the next"
    if step["type"] == "ALL":
        return FULL_SCAN
    if step["type"] == "index" and not _LIMITED.search(statement):
        return WHOLE_INDEX
    return f"by {step['key']}" if step["key"] else step["type"]
