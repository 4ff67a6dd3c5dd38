"""Watches with a filter: each tells exactly what its filter lets pass, and what enters and leaves it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from typing import Any

import grpc
import pymongo
import pytest
from bson import ObjectId
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1.notification_pb2 import Notification

from notifications_service.notification.words import TYPE_TO_PROTO
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, threaded_notifications
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.watching import create, watching

IN_APP = notification_pb2.NOTIFICATION_TYPE_IN_APP
EMAIL = notification_pb2.NOTIFICATION_TYPE_EMAIL
# Types and categories of each watch; empty: any.
FILTERS: list[tuple[list[str], list[str]]] = [
    ([], []),
    (["email"], []),
    ([], ["billing"]),
    (["in-app", "push"], ["billing", "social"]),
]
TYPES = sorted(TYPE_TO_PROTO)
CATEGORIES = ["", "billing", "social", "other"]
users = count()

kinds = st.tuples(st.sampled_from(TYPES), st.sampled_from(CATEGORIES))
steps = st.lists(
    st.tuples(st.sampled_from(["create", "retype", "recategorise", "spoil", "delete"]), st.integers(0, 5), kinds),
    max_size=14,
)


@dataclass
class Row:
    """A notification as the model has it."""

    type: str
    category: str

    def passes(self, chosen: tuple[list[str], list[str]]) -> bool:
        """Whether a filter lets it pass."""
        types, categories = chosen
        return (not types or self.type in types) and (not categories or self.category in categories)


@dataclass
class Model:
    """What happened to one user's notifications, and what each filter makes of it."""

    stub: Any
    rows: Any
    user_id: str
    known: dict[str, Row] = field(default_factory=dict)
    told: list[list[tuple[str, str]]] = field(default_factory=lambda: [[] for _ in FILTERS])
    numbers: Iterator[int] = field(default_factory=count)

    def step(self, what: str, which: int, kind: tuple[str, str]) -> None:
        """Do one thing to one of the notifications."""
        if what == "create" or not self.known:
            self.create(*kind)
            return
        key = list(self.known)[which % len(self.known)]
        getattr(self, what)(key, *kind)

    def create(self, type_: str, category: str) -> None:
        """Create one."""
        content = notification_pb2.NotificationContent(
            title="t", message="m", type=TYPE_TO_PROTO[type_], category=category
        )
        request = pb.CreateNotificationRequest(user_id=self.user_id, content=content)
        key = self.stub.CreateNotification(request).notification.id
        self._note(key, None, Row(type_, category))

    def retype(self, key: str, type_: str, _: str) -> None:
        """Change the type, as another system does; a title that it broke is mended."""
        self.rows.update_one({"_id": ObjectId(key)}, {"$set": {"type": type_, "title": f"{next(self.numbers)}"}})
        self._note(key, self.known[key], Row(type_, self.known[key].category))

    def recategorise(self, key: str, _: str, category: str) -> None:
        """Change the category by this service, or remove it as another system does."""
        before = self.known[key]
        self.retype(key, before.type, "")
        if category:
            changed = Notification(id=key, category=category)
            self.stub.UpdateNotification(
                pb.UpdateNotificationRequest(notification=changed, update_mask=FieldMask(paths=["category"]))
            )
        else:
            removed = {"$unset": {"category": ""}, "$set": {"title": f"{next(self.numbers)}"}}
            self.rows.update_one({"_id": ObjectId(key)}, removed)
        self._note(key, before, Row(before.type, category))

    def spoil(self, key: str, *_: str) -> None:
        """Make one unreadable: to every watch whose filter it passes it is deleted."""
        broken = {"$set": {"title": next(self.numbers)}}
        self.rows.update_one({"_id": ObjectId(key)}, broken, bypass_document_validation=True)
        for chosen, told in zip(FILTERS, self.told, strict=True):
            if self.known[key].passes(chosen):
                told.append(("deleted", key))

    def delete(self, key: str, *_: str) -> None:
        """Delete one."""
        self.rows.delete_one({"_id": ObjectId(key)})
        self._note(key, self.known[key], None)

    def _note(self, key: str, before: Row | None, after: Row | None) -> None:
        for chosen, told in zip(FILTERS, self.told, strict=True):
            if after is not None and after.passes(chosen):
                told.append(("created" if before is None else "updated", key))
            elif before is not None and before.passes(chosen):
                told.append(("deleted", key))
        self.known.pop(key, None) if after is None else self.known.update({key: after})


def message(chosen: tuple[list[str], list[str]]) -> pb.WatchNotificationsRequest.WatchFilter:
    """Return a filter as a request has it."""
    types, categories = chosen
    return pb.WatchNotificationsRequest.WatchFilter(
        types=[TYPE_TO_PROTO[name] for name in types], categories=categories
    )


def begun(stub: Any, user_id: str, **start: Any) -> tuple[list[Any], list[str]]:
    """Begin a watch for each filter; return them and their first tokens."""
    calls = [
        stub.WatchNotifications(
            pb.WatchNotificationsRequest(user_id=user_id, filter=message(chosen), **start), timeout=PATIENCE_SECONDS
        )
        for chosen in FILTERS
    ]
    return calls, [next(call).resume_token for call in calls]


def read(call: Any, size: int) -> list[tuple[str, str]]:
    """Return so many changes of a watch."""
    changes: list[tuple[str, str]] = []
    while len(changes) < size:
        event = next(call)
        kind = event.WhichOneof("event")
        if kind != "heartbeat":
            changes.append((kind, getattr(event, kind).id))
    return changes


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
@pytest.mark.long
def test_any_sequence_is_told_as_a_plain_model_has_it(mongodb_module_database: MongoDatabase, driver: str) -> None:
    """Whatever happens, each filter's watch tells it, live and to one that resumes, as the model does."""
    bounded = settings(max_examples=25, deadline=None, database=None, suppress_health_check=list(HealthCheck))

    with (
        threaded_notifications(mongodb_module_database, mongodb_driver=driver) as stub,
        pymongo.MongoClient[Any](mongodb_module_database.url) as client,
    ):

        @bounded
        @given(steps)
        def sequence(plan: list[tuple[str, int, tuple[str, str]]]) -> None:
            model = Model(stub, client.get_default_database().notifications, f"filter_{driver}_{next(users)}")
            live, tokens = begun(stub, model.user_id)
            for what, which, kind in plan:
                model.step(what, which, kind)
            # Something that every filter lets pass ends what is read, so that nothing too much goes unseen.
            model.create("email", "billing")
            model.create("push", "billing")
            later = [
                stub.WatchNotifications(
                    pb.WatchNotificationsRequest(user_id=model.user_id, filter=message(chosen), resume_token=token),
                    timeout=PATIENCE_SECONDS,
                )
                for chosen, token in zip(FILTERS, tokens, strict=True)
            ]
            for calls in (live, later):
                assert [read(call, len(told)) for call, told in zip(calls, model.told, strict=True)] == model.told
                for call in calls:
                    call.cancel()

        sequence()


async def test_a_token_is_good_only_with_its_filter(notifications: Notifications, user_id: str) -> None:
    """In any order of its values; a watch with another filter, or none, would miss things without a word."""
    feed = notifications.feed
    chosen = {"types": [IN_APP, EMAIL], "categories": ["a", "b"]}
    async with watching(feed, user_id, filter=chosen) as watch:
        token = watch.token
    async with watching(feed, user_id) as plain:
        of_all = plain.token
    made = await create(feed, user_id, category="a")
    turned = {"types": [EMAIL, IN_APP], "categories": ["b", "a"]}
    async with watching(feed, user_id, filter=turned, resume_token=token) as watch:
        assert await watch.change() == ("created", made.id)
    async with watching(feed, user_id, filter={}, resume_token=of_all) as watch:
        assert await watch.change() == ("created", made.id)
    refused = (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")
    for other, given_token in (({}, token), ({"types": [IN_APP, EMAIL]}, token), (chosen, of_all)):
        async with watching(feed, user_id, greeted=False, filter=other, resume_token=given_token) as watch:
            assert await watch.failure() == refused


async def test_a_snapshot_holds_what_the_filter_lets_pass(notifications: Notifications, user_id: str) -> None:
    """Its limit counts those alone, and what follows is filtered alike."""
    feed = notifications.feed
    made = [await create(feed, user_id, category=name) for name in ("a", "b", "a", "b", "c")]
    async with watching(feed, user_id, filter={"categories": ["a"]}, snapshot={"limit": 2}) as watch:
        found = [(await watch.content()).snapshot.id for _ in range(2)]
        end = (await watch.content()).snapshot_end
        await create(feed, user_id, category="b")
        after = await create(feed, user_id, category="a")
        assert await watch.change() == ("created", after.id)
    assert (found, end.count, end.truncated) == ([made[0].id, made[2].id], 2, False)


async def test_a_row_that_goes_to_another_user_passes_by_the_filter_of_each(
    notifications: Notifications, user_id: str, rows: Any
) -> None:
    """Deleted for the old one if it passed there, created for the new one if it passes there."""
    feed, other = notifications.feed, f"{user_id}_other"
    async with (
        watching(feed, user_id, filter={"categories": ["a"]}) as old,
        watching(feed, other, filter={"categories": ["b"]}) as new,
    ):
        made = [await create(feed, user_id, category=name) for name in ("a", "b")]
        for each in made:
            await rows.update_one({"_id": ObjectId(each.id)}, {"$set": {"userId": other}})
        await create(feed, user_id, category="a", title="end")
        events = [(e.WhichOneof("event"), e.deleted.id or e.created.id) for e in await old.until("end")]
        assert events[:-1] == [("created", made[0].id), ("deleted", made[0].id)]
        assert await new.change() == ("created", made[1].id)


async def test_a_huge_category_ends_no_watch(notifications: Notifications, user_id: str, rows: Any) -> None:
    """What a filter tests of a row before a change makes no event of the database too large, nor a history lost."""
    feed = notifications.feed
    now = datetime.now(UTC)
    row = {"title": "t", "message": "m", "type": "email", "userId": user_id, "createdAt": now, "_id": ObjectId()}
    async with watching(feed, user_id, filter={"categories": ["a"]}) as watch:
        token = watch.token
        await rows.insert_one(row | {"category": "x" * 11 * 1024 * 1024})
        await rows.update_one({"_id": row["_id"]}, {"$set": {"title": "other"}})
        await rows.update_one({"_id": row["_id"]}, {"$set": {"category": "a"}})
        after = await create(feed, user_id, category="a")
        told = (await watch.changes(3))[-2:]
        assert told == [("updated", str(row["_id"])), ("created", after.id)]
    async with watching(feed, user_id, filter={"categories": ["a"]}, resume_token=token) as again:
        assert (await again.changes(3))[-2:] == told
