"""Commands on collections that are sharded by their user name the user, wherever whoever sends them knows it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import pytest
from bson import ObjectId
from pydantic import SecretStr

from notifications_service.explain.example import Example, Values
from notifications_service.explain.examples import CATALOG
from notifications_service.explain.explainer import Explainer, Plan
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.sharding import of_users
from notifications_service.notification.retention import Retention
from notifications_service.notification.schema import UNREADABLE_INDEX
from notifications_service.settings import DatabaseSettings

KEY: Final = "userId"
# As the driver gives times: naive, in UTC.
NOW: Final = datetime(2026, 1, 1)  # noqa: DTZ001
# Sharded on a hash of the key (docs/scaling.md, section 5); the other collections are small, or sharded by their ids.
SHARDED: Final = frozenset({"notifications", "scheduled", "deliveries"})
# Statements that go to all shards, with the reason.
EVERYWHERE: Final = {
    "feed.flag": "rare: a row that cannot be read",
    "feed.unflag": "rare: a row that can be read again",
    "purge.delete": "of everybody, in batches",
    "seed.has_any": "a command for development",
    "scheduled.due": "of everybody, by time",
    "scheduled.move_due": "of everybody, by time; what is found is deleted by its users",
    "scheduled.move_one": "by an id of `due`, where a batch failed",
    "scheduled.put_off": "by an id of `due`, where a batch failed",
    "outbox.backlog": "of everybody, by time",
    "outbox.gather": "of the batch that was claimed, by ids",
    "outbox.items_of": "of digests, whose items come in pages",
    "outbox.leave_out": "of digests, by ids",
    "outbox.catch_up": "of everybody: digests that are not complete",
    "outbox.settle_in": "the items that follow a digest; the rows themselves are changed by their users",
    "outbox.get": "whoever operates asks by id",
    "outbox.page": "whoever operates asks for everybody's",
    "outbox.keys": "whoever operates asks for everybody's",
    "outbox.count": "whoever operates asks for everybody's",
    "outbox.of_message": "a report of the far end names no user",
    "outbox.get_in": "by hand, in batches",
    "outbox.notifications_in": "by hand, in batches",
    "outbox.erase": "of everybody, by time",
    "outbox.sealed": "of everybody, when keys change",
    "outbox.reseal": "of everybody, when keys change",
    "watch.read_moment": "asks every shard for its time",
}


class Recorder(Explainer):
    """Notes commands without a server."""

    async def _ask(self, command: Document) -> Document:  # noqa: ARG002
        return {}


class Unchanged:
    """A collection whose retention nobody reads."""


def conditions(command: Document) -> Iterator[Any]:
    """Yield the conditions of a command, of each of its parts."""
    kind = next(iter(command))
    if kind == "find":
        yield command["filter"]
    elif kind == "findAndModify":
        yield command["query"]
    elif kind == "update":
        yield from (one["q"] for one in command["updates"])
    elif kind == "delete":
        yield from (one["q"] for one in command["deletes"])
    elif kind == "aggregate":
        yield from _of_pipeline(command["pipeline"])


def _of_pipeline(pipeline: list[Document]) -> Iterator[Any]:
    yield pipeline[0].get("$match", {})
    for stage in pipeline:
        if (union := stage.get("$unionWith")) is not None:
            yield from _of_pipeline(union["pipeline"])


def is_targeted(condition: Document) -> bool:
    """Whether mongos can tell the shards from a condition: by a value, or some; also in each branch of an `$or`."""
    wanted = condition.get(KEY)
    if isinstance(wanted, str) or (isinstance(wanted, dict) and not wanted.keys().isdisjoint({"$in", "$eq"})):
        return True
    branches = condition.get("$or", [])
    return bool(branches) and all(map(is_targeted, branches))


def values() -> Values:
    """Return values of a notification that could be."""
    collection: Any = Unchanged()
    retention = Retention(collection, lambda: NOW)
    return Values("user_1", ObjectId(), NOW, retention, lambda: NOW)


async def sent_by(example: Example) -> list[Plan]:
    """Return the commands of an example on sharded collections."""
    recorder, given = (
        Recorder(DatabaseSettings(mongodb_url=SecretStr("mongodb://nowhere.invalid/db")), analyze=False),
        values(),
    )
    recorder.rows = [{"_id": given.key, KEY: given.user_id}] if example.finds else []
    try:
        await example.call(recorder, given)
    finally:
        await recorder.close()
    return [plan for plan in recorder.plans if plan.command[next(iter(plan.command))] in SHARDED]


def _is_of_few(plan: Plan) -> bool:
    """Whether a command is not that which looks, along its index, for unreadable rows of several users."""
    if plan.command.get("hint") != UNREADABLE_INDEX:
        return True
    return bool(plan.command["min"][KEY] == plan.command["max"][KEY])


@pytest.mark.parametrize("example", CATALOG.chosen(None), ids=lambda example: f"{example.name} {example.case}".strip())
def test_a_command_names_the_user_that_its_sender_knows(example: Example) -> None:
    """So it goes to one shard, or to those of a few users; what goes to all has a reason above."""
    if example.name in EVERYWHERE:
        return
    plans = asyncio.run(sent_by(example))
    if example.name == "outbox.claim":
        plans = [plan for plan in plans if "find" not in plan.command or plan.name == "outbox.of_lease"]
        assert plans or example.case, "its update, and what it then reads"
    for plan in filter(_is_of_few, plans):
        assert all(map(is_targeted, conditions(plan.command))), plan.command


def test_every_reason_is_of_a_statement() -> None:
    """What no longer exists needs no reason."""
    assert EVERYWHERE.keys() <= {example.name for example in CATALOG.chosen(None)}


def test_a_condition_on_nobody_is_none() -> None:
    """Rows of nobody are asked for by None, which is not the same as not asking."""
    assert of_users([]) == {}
    assert of_users(["ann"]) == {KEY: "ann"}
    assert of_users([None]) == {KEY: None}
    assert of_users(["bob", None, "ann", "bob"]) == {KEY: {"$in": [None, "ann", "bob"]}}
