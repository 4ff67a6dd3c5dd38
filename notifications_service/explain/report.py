"""The report of ``explain``: all plans, and what each means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pymongo
from bson import ObjectId, json_util

from chassis.commands.report import Report, ReportRow
from notifications_service.clock import MillisecondClock
from notifications_service.explain import plans
from notifications_service.explain.example import Example, Values
from notifications_service.explain.examples import CATALOG
from notifications_service.explain.explainer import Explainer
from notifications_service.mongodb import codec
from notifications_service.notification import schema
from notifications_service.notification.retention import Retention
from notifications_service.settings import DatabaseSettings
from notifications_service.status.shapes import shape

SERVICE: Final = "notifications-service"
_NOTE: Final = "plans of small collections say little; --analyze counts what is read, and changes nothing"


async def explain(settings: DatabaseSettings, wanted: str | None, clock: MillisecondClock, *, analyze: bool) -> Report:
    """Explain the commands of that name; None: all. Raises CommandFailed for a name that there is not.

    Raises SchemaLacking and PyMongoError. All together take the query timeout at most.
    """
    examples = CATALOG.chosen(wanted)
    explainer = Explainer(settings, analyze=analyze)
    try:
        with explainer.limits(), pymongo.timeout(settings.mongodb_query_timeout_ms / 1000):
            rows = await _rows(explainer, examples, clock)
    finally:
        await explainer.close()
    return CATALOG.report(SERVICE, wanted, rows, _NOTE)


async def _rows(explainer: Explainer, examples: Sequence[Example], clock: MillisecondClock) -> list[ReportRow]:
    values = await _pick(explainer.server, clock)
    rows: list[ReportRow] = []
    for example in examples:
        explainer.plans.clear()
        explainer.rows = [{"_id": values.key, "userId": values.user_id}] if example.finds else []
        await example.call(explainer, values)
        for plan in explainer.plans:
            row = plans.row(plan, example.case) | {"command": _shown(plan.command)}
            if row not in rows:
                rows.append(row)
    return rows


async def _pick(server: Any, clock: MillisecondClock) -> Values:
    """Read one notification; none of it is ever shown."""
    collection = server.get_collection(schema.COLLECTION, codec_options=codec.CODEC_OPTIONS)
    retention = Retention(collection, clock)
    await retention.refresh()
    found = await collection.find_one({}, sort=[("createdAt", -1)], hint="createdAt_1") or {}
    return Values(
        found.get("userId", "none"),
        found.get("_id", ObjectId()),
        found.get("createdAt", clock()),
        retention,
        clock,
    )


def _shown(command: ReportRow) -> str:
    plain = json_util.loads(json_util.dumps(command))
    return shape(plain, next(iter(command)))
