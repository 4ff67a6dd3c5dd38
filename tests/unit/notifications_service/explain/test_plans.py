"""What explanations of MongoDB's mean: warnings where everything is read, or sorted."""

from __future__ import annotations

from typing import Any

import pytest

from notifications_service.explain import plans
from notifications_service.explain.explainer import NOT_ALLOWED, Plan

SCAN = {"stage": "COLLSCAN"}
BY_INDEX = {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "indexName": "feed"}}


def verdict(winning: Any, command: dict[str, Any] | None = None) -> Any:
    """Return what is said of a plan."""
    answer = {"queryPlanner": {"winningPlan": winning, "rejectedPlans": [SCAN]}}
    return plans.row(Plan("feed.page", command or {"find": "notifications", "filter": {"a": 1}}, answer), "")["verdict"]


@pytest.mark.parametrize(
    ("winning", "expected"),
    [
        (BY_INDEX, "by feed"),
        ({"stage": "SORT", "inputStage": BY_INDEX}, "by feed, sorts!"),
        ({"stage": "LIMIT", "inputStage": SCAN}, "full scan!"),
        ({"queryPlan": {"stage": "IDHACK"}, "slotBasedPlan": {"stages": SCAN}}, "by _id_"),
        ({"stage": "EOF"}, "nothing to read"),
    ],
)
def test_verdict(winning: Any, expected: str) -> None:
    """The chosen plan counts, wherever it stands, and not those that were rejected."""
    assert verdict(winning) == expected


def test_a_part_of_a_pipeline_that_scans_is_seen() -> None:
    """Each pipeline of a union has a plan of its own."""
    part = {"$cursor": {"queryPlanner": {"winningPlan": BY_INDEX}}}
    union = {"$unionWith": {"pipeline": [{"$cursor": {"queryPlanner": {"winningPlan": SCAN}}}]}}
    row = plans.row(Plan("feed.pages", {"aggregate": "notifications"}, {"stages": [part, union]}), "later page")
    assert (row["verdict"], row["case"]) == ("full scan!", "later page")


def test_what_may_not_be_explained_says_so() -> None:
    """To explain a write takes the right to write; it is neither a scan nor an insertion."""
    assert (
        plans.row(Plan("feed.delete", {"delete": "notifications"}, NOT_ALLOWED), "")["verdict"]
        == "this account may not"
    )


def test_looking_for_any_is_no_scan() -> None:
    """A query that takes the first it meets reads one."""
    command = {"find": "notifications", "filter": {}, "limit": 1}
    assert verdict({"stage": "LIMIT", "inputStage": SCAN}, command) == "the first that is there"
