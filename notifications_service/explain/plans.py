"""Query plans of MongoDB: their stages, the index, and a warning where one reads everything or sorts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from chassis.commands.report import ReportRow
from notifications_service.explain.explainer import NOT_ALLOWED, Plan

COLLECTION_SCAN: Final = "full scan!"
SORT: Final = "sorts!"
# Stages that find documents by their key alone.
_BY_KEY: Final = frozenset({"IDHACK", "EXPRESS_IXSCAN"})
# Parts of an explanation: plans that were rejected, and the chosen one in another form.
_LEFT_OUT: Final = frozenset({"rejectedPlans", "slotBasedPlan", "executionStages", "command"})


def row(plan: Plan, case: str) -> ReportRow:
    """Return a plan as a row of the report."""
    stages = list(_stages(plan.answer))
    counted = list(_counts(plan.answer))
    return {
        "name": plan.name,
        "case": case or None,
        "kind": next(iter(plan.command)),
        "collection": next(iter(plan.command.values())),
        "stages": " < ".join(dict.fromkeys(stage["stage"] for stage in stages)) or None,
        "index": ", ".join(dict.fromkeys(_indexes(stages))) or None,
        "keys_examined": sum(item["totalKeysExamined"] for item in counted) if counted else None,
        "documents_examined": sum(item["totalDocsExamined"] for item in counted) if counted else None,
        "verdict": _verdict(plan, stages),
    }


def _verdict(plan: Plan, stages: list[Mapping[str, Any]]) -> str:
    if plan.answer is None:
        return "inserts"
    if plan.answer is NOT_ALLOWED:
        return "this account may not"
    names = {stage["stage"] for stage in stages}
    if "COLLSCAN" in names:
        any_ = plan.command.get("limit") == 1 and plan.command.get("filter") == {}
        return "the first that is there" if any_ else COLLECTION_SCAN
    found = f"by {', '.join(dict.fromkeys(_indexes(stages)))}"
    if "SORT" in names:
        return f"{found}, {SORT}"
    return found if len(found) > len("by ") else "nothing to read"


def _indexes(stages: list[Mapping[str, Any]]) -> Iterator[str]:
    for stage in stages:
        if stage["stage"] in _BY_KEY:
            yield "_id_"
        elif "indexName" in stage:
            yield str(stage["indexName"])


def _stages(part: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the stages of the chosen plans, wherever an explanation has them, outermost first."""
    if isinstance(part, Mapping):
        if isinstance(part.get("stage"), str):
            yield part
        for name, value in part.items():
            if name not in _LEFT_OUT:
                yield from _stages(value)
    elif isinstance(part, list):
        for value in part:
            yield from _stages(value)


def _counts(part: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the counts of each part that was carried out."""
    if isinstance(part, Mapping):
        if "totalKeysExamined" in part:
            yield part
            return
        for value in part.values():
            yield from _counts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _counts(value)
