"""Examples of named commands: functions that send them, with arguments as in real calls."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from bson import Binary, ObjectId, Timestamp

from chassis.commands.explain import Catalog
from chassis.keyring import KEY_BYTES, Keyring
from notifications_service.explain.deliveries import DELIVERIES, SUPPRESSIONS
from notifications_service.explain.example import Example, Send, Values
from notifications_service.explain.explainer import Explainer
from notifications_service.explain.outbox import OUTBOX
from notifications_service.explain.preferences import PREFERENCES
from notifications_service.explain.scheduled import SCHEDULED
from notifications_service.feed.repository import FeedRepository
from notifications_service.idempotency import Created, IdempotencyKeys, RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents, filters
from notifications_service.notification.as_of import AsOf
from notifications_service.notification.documents import Draft, Type
from notifications_service.notification.filters import Filter
from notifications_service.notification.states import Mark, State
from notifications_service.purge import purge
from notifications_service.push_subscriptions.model import AUTH_BYTES, MOST_OF_USER, POINT_BYTES, NewSubscription, Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository, key_beside
from notifications_service.seed.repository import SeedRepository
from notifications_service.watch.counts import Counts
from notifications_service.watch.snapshot import FeedSnapshot, Snapshots

_UNREAD: Final = Filter(highest=State.SEEN)
_READ: Final = Filter(lowest=State.READ, highest=State.READ)
_TYPES: Final = Filter(types=("email", "push"), categories=("billing",))
_THREADS: Final = Filter(threads=("order:1", "order:2"))


def _feed(explainer: Explainer, values: Values) -> FeedRepository:
    return FeedRepository(explainer, values.retention, values.clock)


def _draft(values: Values) -> Document:
    return documents.new(Draft(values.user_id, "title", "message", Type.IN_APP), values.clock())


def _page(chosen: Filter, *, later: bool = False) -> Send:
    return lambda e, v: _feed(e, v).page(v.user_id, chosen, v.position if later else None, 21, None)


def _pages(*, later: bool) -> Send:
    def call(explainer: Explainer, values: Values) -> Awaitable[Any]:
        beginning = (filters.EVERYTHING, values.position if later else None)
        return _feed(explainer, values).pages({values.user_id: beginning, "another": beginning}, 21)

    return call


def _mark_all(chosen: Filter, *, later: bool = False) -> Send:
    bound = AsOf(Timestamp(1_000, 1), (ObjectId(),)).condition()
    return lambda e, v: _feed(e, v).mark_all(
        v.user_id, chosen, bound, Mark.READ.value, limit=2_000, after=v.position if later else None
    )


def _grouped(chosen: Filter) -> Send:
    return lambda e, v: _feed(e, v).counts.group([v.user_id, "another"], filters.group_key((chosen,)), chosen)


def _delete_of_user(*, visible: bool) -> Send:
    return lambda e, v: _feed(e, v).delete_of_user(v.user_id, visible=visible, limit=2_000)


FEED: Final = (
    Example("feed.insert_each", lambda e, v: _feed(e, v).insert_each([_draft(v)])),
    Example("feed.insert_in", lambda e, v: _feed(e, v).insert_in(None, [_draft(v)])),  # type: ignore[arg-type]
    Example("feed.get_many", lambda e, v: _feed(e, v).get_many([v.key, ObjectId()], users=[v.user_id])),
    Example("feed.page", _page(filters.EVERYTHING), "all"),
    Example("feed.page", _page(filters.EVERYTHING, later=True), "later page"),
    Example("feed.page", _page(_UNREAD), "unread"),
    Example("feed.page", _page(_READ, later=True), "read, later page"),
    Example("feed.page", _page(_TYPES), "types and category"),
    Example("feed.page", _page(_THREADS), "threads"),
    Example("feed.pages", _pages(later=False)),
    Example("feed.pages", _pages(later=True), "later page"),
    Example("feed.group", lambda e, v: _feed(e, v).counts.group([v.user_id, "another"], {"read": "$read"})),
    Example("feed.group", _grouped(_THREADS), "threads"),
    Example("feed.flag", lambda e, v: _feed(e, v).counts.flag([v.key])),
    Example("feed.unflag", lambda e, v: _feed(e, v).counts.unflag([v.key])),
    Example("feed.update", lambda e, v: _feed(e, v).update(v.key, {"title": "new"}, {"userId": v.user_id, "rev": 1})),
    Example("feed.mark", lambda e, v: _feed(e, v).mark(v.user_id, [v.key], Mark.READ.value)),
    Example("feed.mark_all", _mark_all(filters.EVERYTHING)),
    Example("feed.mark_all", _mark_all(_TYPES), "types and category"),
    Example("feed.mark_all", _mark_all(filters.EVERYTHING, later=True), "later batch"),
    Example("feed.mark_all", _mark_all(_THREADS), "threads"),
    Example("feed.seen_lately", lambda e, v: _feed(e, v).seen_lately(v.user_id, AsOf(Timestamp(1_000, 1)))),
    Example("feed.delete", lambda e, v: _feed(e, v).delete(v.key, {"userId": v.user_id})),
    Example(
        "feed.delete_of_user", lambda e, v: _feed(e, v).delete_of_user(v.user_id, visible=True, limit=2_000), finds=True
    ),
    Example(
        "feed.delete_of_user",
        lambda e, v: _feed(e, v).delete_of_user(v.user_id, visible=False, limit=2_000),
        "what is left",
    ),
)


def _once(explainer: Explainer, values: Values) -> Awaitable[Any]:
    async def write(_: Any) -> None:
        return None

    key = RequestKey("CreateNotification", str(values.key), bytes(32))
    return IdempotencyKeys(explainer, values.clock).once(key, Created([]), write)


def _once_made(explainer: Explainer, values: Values) -> Awaitable[Any]:
    async def make(_: Any) -> list[Document]:
        return []

    key = RequestKey("RegisterPushSubscription", str(values.key), bytes(32))
    return IdempotencyKeys(explainer, values.clock).once_made(key, make)


def _answered(explainer: Explainer, values: Values) -> Awaitable[Any]:
    key = RequestKey("CreateNotification", str(values.key), bytes(32))
    return IdempotencyKeys(explainer, values.clock).answered(key)


REST: Final = (
    Example("idempotency.answered", _answered),
    Example("idempotency.once", _once),
    Example("idempotency.once_made", _once_made),
    Example("purge.delete", lambda e, v: purge(e, v.clock), finds=True),
    Example("seed.has_any", lambda e, _: SeedRepository(e).has_any()),
    Example("seed.insert", lambda e, v: SeedRepository(e).insert([_draft(v)])),
)


def _snapshots(explainer: Explainer, values: Values) -> Snapshots:
    return Snapshots(explainer, values.retention.visibility)


async def _read_part(explainer: Explainer, values: Values) -> None:
    async for _ in _snapshots(explainer, values).read(
        values.user_id, FeedSnapshot([values.key], AsOf(Timestamp(1, 1)), truncated=False)
    ):
        pass


def _count(chosen: Filter) -> Send:
    return lambda explainer, values: Counts(explainer, values.retention.visibility, 0).after(
        values.user_id, chosen, None
    )


WATCH: Final = (
    Example("watch.read_moment", lambda e, v: _snapshots(e, v).now()),
    Example("watch.draw", lambda e, v: _snapshots(e, v).draw(v.user_id, filters.EVERYTHING, 100, None)),
    Example("watch.draw", lambda e, v: _snapshots(e, v).draw(v.user_id, _TYPES, 100, None), "types and category"),
    Example("watch.read_part", _read_part),
    Example("watch.group", _count(filters.EVERYTHING)),
    Example("watch.group", _count(_TYPES), "types and category"),
    Example("watch.unreadable", _count(filters.EVERYTHING)),
)

# A key for as long as the example takes: what it makes is only looked for, or only explained.
_KEYRING: Final = Keyring({"example": bytes(KEY_BYTES)})


def _push(explainer: Explainer, values: Values) -> PushSubscriptionRepository:
    return PushSubscriptionRepository(explainer, Seal(_KEYRING), values.clock)


async def _trim(explainer: Explainer, values: Values) -> None:
    explainer.rows = [{"_id": f"push_{number}", "aliveAt": values.created_at} for number in range(MOST_OF_USER + 1)]
    await _push(explainer, values).trim(values.user_id)


_SUBSCRIPTION: Final = NewSubscription(
    "user", "https://push.example.com/1", bytes(POINT_BYTES), bytes(AUTH_BYTES), "key"
)

PUSH: Final = (
    Example("push_subscriptions.of_users", lambda e, v: _push(e, v).of_users([v.user_id, "another"])),
    Example("push_subscriptions.put", lambda e, v: _push(e, v).put(_SUBSCRIPTION)),
    Example("push_subscriptions.trim", _trim),
    Example("push_subscriptions.page", lambda e, v: _push(e, v).page(v.user_id, None, 21)),
    Example("push_subscriptions.page", lambda e, v: _push(e, v).page(v.user_id, (v.created_at, "push_"), 21), "later"),
    Example("push_subscriptions.delete", lambda e, v: _push(e, v).delete(v.user_id, "push_")),
    Example("push_subscriptions.delete_endpoint", lambda e, v: _push(e, v).delete_endpoint(v.user_id, "https://a.b/")),
    Example("push_subscriptions.delete_of_user", lambda e, v: _push(e, v).delete_of_user(v.user_id)),
    Example("push_subscriptions.seals_after", lambda e, v: _push(e, v).seals_after("push_", 500)),
    Example("push_subscriptions.reseal", lambda e, v: _push(e, v).reseal({"_id": "push_", "sealed": b""}, Binary(b""))),
    Example("push_subscriptions.remove", lambda e, v: _push(e, v).remove(["push_"])),
    Example("push_subscriptions.used", lambda e, v: _push(e, v).used(["push_"], v.clock())),
    Example("push_subscriptions.key_beside", lambda e, _: key_beside(e, ["key"])),
)

EXAMPLES: Final = (*FEED, *OUTBOX, *SCHEDULED, *REST, *WATCH, *SUPPRESSIONS, *PUSH, *PREFERENCES, *DELIVERIES)

WITHOUT_PLAN: Final = {
    "app.probe": "reads no collection",
    "mongodb.hello": "reads no collection",
    "migrations.indexes_of": "asks for a collection's indexes",
    "migrations.recorded": "reads a handful of records",
    "notification.stored_seconds": "asks for the collection's indexes",
    "secondaries.now": "reads no collection",
    "watch.next": "reads the oplog from a place on",
    "watch.open": "reads the oplog from a place on",
}

CATALOG: Final = Catalog("command", EXAMPLES, WITHOUT_PLAN)
