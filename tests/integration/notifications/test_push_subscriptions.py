"""Push subscriptions over the wire: registered, renewed, moved, listed, forgotten, and never readable at rest."""

from __future__ import annotations

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1 import preference_service_pb2 as pb

from chassis.contract.timestamps import to_proto
from chassis.keyring import Keyring
from chassis.serving.lifecycle import StartFailed
from notifications_service.mongodb.database import Database
from notifications_service.push_subscriptions.model import MOST_OF_USER, Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from tests.harness.clocks import FrozenClock, VirtualClock, stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, Notifications, running_notifications, settings_for
from tests.harness.push_service import Browser
from tests.harness.users import metadata, reason, violated

OLD, NEW = base64.b64encode(b"\x01" * 32).decode(), base64.b64encode(b"\x02" * 32).decode()
PUSH: dict[str, Any] = {"web_push_keys": f"k2:{NEW},k1:{OLD}", "web_push_subject": "mailto:ops@example.com"}
# Calls at the same time.
CROWD = 16


@pytest.fixture(params=["pymongo", "motor"])
async def server(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase
) -> AsyncIterator[Notifications]:
    """The production server with keys, under each driver."""
    async with running_notifications(mongodb_module_database, mongodb_driver=request.param, **PUSH) as running:
        yield running


@pytest.fixture
async def own(mongodb_database: MongoDatabase) -> AsyncIterator[Notifications]:
    """The production server with keys, on a database of the test's own."""
    async with running_notifications(mongodb_database, **PUSH) as running:
        yield running


def registration(user_id: str, endpoint: str = "", **fields: Any) -> pb.RegisterPushSubscriptionRequest:
    """Make a request that is right, but for the fields given; without an endpoint one that no other has."""
    browser = Browser(endpoint or f"https://push.example.com/{uuid.uuid4()}")
    target: dict[str, Any] = {
        "endpoint": browser.endpoint,
        "p256dh": browser.p256dh,
        "auth": browser.auth,
        "key_id": "k1",
    }
    target |= {name: fields.pop(name) for name in target if name in fields}
    return pb.RegisterPushSubscriptionRequest(user_id=user_id, web_push=pb.WebPushTarget(**target), **fields)


async def register(server: Notifications, user_id: str, endpoint: str = "", **fields: Any) -> Any:
    """Register a subscription and return it."""
    request = registration(user_id, endpoint, **fields)
    return (await server.preferences.RegisterPushSubscription(request)).subscription


async def listed(server: Notifications, user_id: str, size: int = 100) -> list[Any]:
    """Return all of a user's subscriptions, page by page."""
    found: list[Any] = []
    request = pb.ListPushSubscriptionsRequest(user_id=user_id, page_size=size)
    while True:
        page = await server.preferences.ListPushSubscriptions(request)
        assert len(page.subscriptions) <= size
        found += page.subscriptions
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def refused(call: Awaitable[Any]) -> tuple[str, str, grpc.aio.AioRpcError]:
    """Return the code and the reason with which a call fails, and its error."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code().name, reason(error.value), error.value


async def test_a_browser_learns_the_newest_key(server: Notifications) -> None:
    """It is what `applicationServerKey` takes: an uncompressed point."""
    key = await server.preferences.GetPushKey(pb.GetPushKeyRequest())
    assert (key.key_id, len(key.public_key), key.public_key[0]) == ("k2", 65, 4)


async def test_a_subscription_is_stored_and_listed(server: Notifications, user_id: str) -> None:
    """What is answered is what is listed, and neither shows a key."""
    ends = to_proto(stored_now() + timedelta(days=1))
    made = await register(server, user_id, user_agent="x" * 600, expires_at=ends, key_id="k2")
    assert (made.user_id, made.web_push.key_id, made.user_agent) == (user_id, "k2", "x" * 512)
    assert made.id.startswith("push_")
    assert made.expires_at.ToMilliseconds() == ends.ToMilliseconds()
    assert not made.HasField("last_used_at")
    assert await listed(server, user_id) == [made]


async def test_the_endpoint_is_the_identity(server: Notifications, user_id: str) -> None:
    """Registered again it is renewed; compared whole, byte for byte."""
    endpoint = f"https://push.example.com/{uuid.uuid4()}"
    first = await register(server, user_id, endpoint)
    again = await register(server, user_id, endpoint, user_agent="new", key_id="k2")
    assert (again.id, again.created_at) == (first.id, first.created_at)
    assert (again.web_push.key_id, again.user_agent) == ("k2", "new")
    other = await register(server, user_id, endpoint + "%20")
    assert [each.id for each in await listed(server, user_id)] == [other.id, again.id]


async def test_an_endpoint_moves_to_who_registers_it(server: Notifications, user_id: str, raw: Any) -> None:
    """A browser in which somebody else signs in shows no more of the first one's messages."""
    endpoint = f"https://push.example.com/{uuid.uuid4()}"
    first = await register(server, user_id, endpoint, user_agent="theirs")
    raw.push_subscriptions.update_one({"_id": first.id}, {"$set": {"lastUsedAt": stored_now()}})
    moved = await register(server, user_id + "b", endpoint)
    assert (moved.user_id, moved.user_agent, moved.HasField("last_used_at")) == (user_id + "b", "", False)
    assert await listed(server, user_id) == []
    assert await listed(server, user_id + "b") == [moved]


async def test_calls_at_once_leave_one_row(server: Notifications, user_id: str, raw: Any) -> None:
    """A browser that registers in many tabs, with and without a request id, has one subscription."""
    endpoint, id_ = f"https://push.example.com/{uuid.uuid4()}", str(uuid.uuid4())
    request = registration(user_id, endpoint, request_id=id_)
    plain = registration(user_id, endpoint)

    async def call(number: int) -> Any:
        try:
            return await server.preferences.RegisterPushSubscription(request if number % 2 else plain)
        except grpc.aio.AioRpcError as error:
            return reason(error)

    answers = await asyncio.gather(*map(call, range(CROWD)))
    ids = {answer.subscription.id for answer in answers if not isinstance(answer, str)}
    assert {answer for answer in answers if isinstance(answer, str)} <= {"REQUEST_IN_FLIGHT", "CONFLICT_RETRY"}
    assert [each.id for each in await listed(server, user_id)] == [*ids]
    assert raw.push_subscriptions.count_documents({"userId": user_id}) == 1


async def test_two_users_at_once_leave_the_endpoint_with_one(server: Notifications, user_id: str) -> None:
    """Whoever comes last has it, and nobody else."""
    endpoint = f"https://push.example.com/{uuid.uuid4()}"
    users = [f"{user_id}_{number}" for number in range(CROWD)]
    await asyncio.gather(*(register(server, user, endpoint) for user in users))
    assert [len(await listed(server, user)) for user in users].count(1) == 1


async def test_a_request_id_is_answered_once(server: Notifications, user_id: str) -> None:
    """A repeat has the first answer, though the endpoint moved on meanwhile; another body is refused."""
    request = registration(user_id, request_id=str(uuid.uuid4()))
    first = await server.preferences.RegisterPushSubscription(request)
    await register(server, user_id + "b", request.web_push.endpoint)
    assert await server.preferences.RegisterPushSubscription(request) == first
    assert await listed(server, user_id) == []
    request.user_agent = "another"
    assert (await refused(server.preferences.RegisterPushSubscription(request)))[:2] == (
        "INVALID_ARGUMENT",
        "REQUEST_ID_REUSED",
    )


async def test_beyond_fifty_the_one_longest_unused_gives_way(own: Notifications, raw_of_own: Any) -> None:
    """One that was registered first and is in use stays; the one that was silent for longest goes."""
    made = [await register(own, "u") for _ in range(MOST_OF_USER)]
    now = stored_now()
    for number, each in enumerate(made):
        silent = {"aliveAt": now - timedelta(days=100 - number)}
        raw_of_own.push_subscriptions.update_one({"_id": each.id}, {"$set": silent})
    raw_of_own.push_subscriptions.update_one({"_id": made[0].id}, {"$set": {"aliveAt": now, "lastUsedAt": now}})
    newest = await register(own, "u")
    left = {each.id for each in await listed(own, "u")}
    assert left == {newest.id, *(each.id for each in made)} - {made[1].id}


async def test_registered_at_once_there_are_never_too_many(own: Notifications) -> None:
    """However many register at the same time, fifty are left."""
    for _ in range(4):
        await asyncio.gather(*(register(own, "u") for _ in range(CROWD)))
    assert len(await listed(own, "u", size=7)) == MOST_OF_USER


async def test_pages_hold_when_rows_go(own: Notifications) -> None:
    """Rows of one millisecond included, each is shown once, and a token holds after its row is gone."""
    made = [(await register(own, "u")).id for _ in range(7)]
    first = await own.preferences.ListPushSubscriptions(pb.ListPushSubscriptionsRequest(user_id="u", page_size=3))
    assert [each.id for each in first.subscriptions] == made[:3:-1]
    await own.preferences.DeletePushSubscription(pb.DeletePushSubscriptionRequest(user_id="u", id=made[4]))
    rest = await own.preferences.ListPushSubscriptions(
        pb.ListPushSubscriptionsRequest(user_id="u", page_size=100, page_token=first.next_page_token)
    )
    assert ([each.id for each in rest.subscriptions], rest.next_page_token) == (made[3::-1], "")


async def test_pages_of_one_moment_are_in_order(mongodb_database: MongoDatabase) -> None:
    """Where the clock stands still the ids decide, and none is left out or shown twice."""
    async with running_notifications(mongodb_database, FrozenClock(), **PUSH) as server:
        made = [(await register(server, "u")).id for _ in range(5)]
        assert [each.id for each in await listed(server, "u", size=2)] == sorted(made, reverse=True)


@pytest.mark.parametrize("by", ["id", "endpoint"])
async def test_a_subscription_is_forgotten_by_its_user_alone(server: Notifications, user_id: str, by: str) -> None:
    """By id and by endpoint; another user is told that there is none, and a repeat may be allowed."""
    made = await register(server, user_id)
    value = {"id": made.id} if by == "id" else {"endpoint": made.web_push.endpoint}
    delete = server.preferences.DeletePushSubscription
    other = await refused(delete(pb.DeletePushSubscriptionRequest(user_id="other", **value)))
    assert other[:2] == ("NOT_FOUND", "PUSH_SUBSCRIPTION_NOT_FOUND")
    assert metadata(other[2]) == ({"id": made.id} if by == "id" else {})
    await delete(pb.DeletePushSubscriptionRequest(user_id=user_id, **value))
    assert await listed(server, user_id) == []
    await delete(pb.DeletePushSubscriptionRequest(user_id=user_id, allow_missing=True, **value))
    assert (await refused(delete(pb.DeletePushSubscriptionRequest(user_id=user_id, **value))))[0] == "NOT_FOUND"


async def test_one_that_has_ended_is_not_there(mongodb_database: MongoDatabase) -> None:
    """From the moment that its browser told, and before anything sweeps it."""
    clock = VirtualClock()
    async with running_notifications(mongodb_database, clock, **PUSH) as server:
        ends = to_proto(clock() + timedelta(days=2))
        made = await register(server, "u", expires_at=ends)
        kept = await register(server, "u")
        clock.advance(timedelta(days=2))
        assert [each.id for each in await listed(server, "u")] == [kept.id]
        gone = server.preferences.DeletePushSubscription(pb.DeletePushSubscriptionRequest(user_id="u", id=made.id))
        assert (await refused(gone))[1] == "PUSH_SUBSCRIPTION_NOT_FOUND"


WRONG: dict[str, tuple[Callable[[pb.RegisterPushSubscriptionRequest], Any], dict[str, str]]] = {
    "private address": (
        lambda request: setattr(request.web_push, "endpoint", "https://10.0.0.1/x"),
        {"web_push.endpoint": "ENDPOINT_PUBLIC"},
    ),
    "odd port": (
        lambda request: setattr(request.web_push, "endpoint", "https://push.example.com:22/x"),
        {"web_push.endpoint": "ENDPOINT_PUBLIC"},
    ),
    "no point": (
        lambda request: setattr(request.web_push, "p256dh", b"\x04" + b"\x01" * 64),
        {"web_push.p256dh": "P256DH_POINT"},
    ),
    "ended": (
        lambda request: request.expires_at.FromSeconds(1_000),
        {"expires_at": "TIMESTAMP_GT_NOW"},
    ),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_cannot_be_right_is_refused(server: Notifications, user_id: str, what: str) -> None:
    """Each violation names its field and its rule, and nothing is stored."""
    request = registration(user_id)
    change, expected = WRONG[what]
    change(request)
    code, why, error = await refused(server.preferences.RegisterPushSubscription(request))
    assert (code, why, violated(error)) == ("INVALID_ARGUMENT", "INVALID_FIELDS", expected)
    assert await listed(server, user_id) == []


async def test_all_violations_are_told_at_once(server: Notifications, user_id: str) -> None:
    """A caller mends a request in one go."""
    request = registration(user_id)
    for change, _ in WRONG.values():
        change(request)
    error = (await refused(server.preferences.RegisterPushSubscription(request)))[2]
    assert violated(error).keys() == {"web_push.endpoint", "web_push.p256dh", "expires_at"}


async def test_a_key_that_the_server_has_not_is_refused(server: Notifications, user_id: str) -> None:
    """Its messages could not be signed; the browser has to subscribe again."""
    request = registration(user_id, key_id="k3")
    code, why, error = await refused(server.preferences.RegisterPushSubscription(request))
    assert (code, why, metadata(error)) == ("INVALID_ARGUMENT", "PUSH_KEY_UNKNOWN", {"key_id": "k3"})


async def test_without_keys_there_is_no_push(mongodb_database: MongoDatabase) -> None:
    """The key and registrations are refused; lists and deletions go on, so that users can be forgotten."""
    async with running_notifications(mongodb_database) as server:
        for call in (
            server.preferences.GetPushKey(pb.GetPushKeyRequest()),
            server.preferences.RegisterPushSubscription(registration("u")),
        ):
            code, why, error = await refused(call)
            assert (code, why) == ("FAILED_PRECONDITION", "CHANNEL_NOT_CONFIGURED")
            assert metadata(error) == {"channel": "push"}
        assert await listed(server, "u") == []


async def test_an_unknown_user_has_no_subscription(mongodb_module_database: MongoDatabase, user_id: str) -> None:
    """Nobody to ask: it is said, and nothing is stored."""
    settings = {"recipient_check": "required", "users_address": "127.0.0.1:1", **PUSH}
    async with running_notifications(mongodb_module_database, **settings) as server:
        refusal = await refused(server.preferences.RegisterPushSubscription(registration(user_id)))
        assert refusal[:2] == ("UNAVAILABLE", "USERS_SERVICE_UNAVAILABLE")
        assert await listed(server, user_id) == []


async def test_deleting_what_is_kept_of_a_user_deletes_subscriptions(server: Notifications, user_id: str) -> None:
    """Nothing is sent to the browser of a user who is gone."""
    await register(server, user_id)
    kept = await register(server, user_id + "b")
    await server.feed.DeleteUserNotifications(feed_pb.DeleteUserNotificationsRequest(user_id=user_id))
    assert await listed(server, user_id) == []
    assert await listed(server, user_id + "b") == [kept]


async def test_nothing_that_reaches_a_browser_stands_readable(own: Notifications, raw_of_own: Any) -> None:
    """Neither endpoint nor secret, in no collection, kept answers included."""
    request = registration(
        "u", "https://push.example.com/capability", auth=b"sixteen secrets!", request_id=str(uuid.uuid4())
    )
    first = await own.preferences.RegisterPushSubscription(request)
    kept = repr([[*raw_of_own[name].find()] for name in raw_of_own.list_collection_names()])
    assert "push_subscriptions" in raw_of_own.list_collection_names()
    for secret in ("capability", "push.example.com", "sixteen secrets!", repr(request.web_push.p256dh)[2:-1]):
        assert secret not in kept
    assert await own.preferences.RegisterPushSubscription(request) == first


def _repository(database: Database, keys: str = SECRET_KEYS) -> PushSubscriptionRepository:
    return PushSubscriptionRepository(database, Seal(Keyring.parse(keys)), stored_now)


async def test_a_worker_gets_targets_and_notes_what_became_of_them(
    own: Notifications, mongodb_database: MongoDatabase
) -> None:
    """All subscriptions of many users at once, opened; those that are gone are removed, those in use are noted."""
    browser = Browser("https://push.example.com/of-a")
    fields = {"p256dh": browser.p256dh, "auth": browser.auth}
    first = await register(own, "a", browser.endpoint, **fields)
    second, other = await register(own, "a"), await register(own, "b")
    database = Database(settings_for(mongodb_database))
    repository = _repository(database)
    found = await repository.of_users(["a", "b", "nobody"])
    assert {user: [each.id for each in targets] for user, targets in found.items()} == {
        "a": [second.id, first.id],
        "b": [other.id],
    }
    [target] = [each for each in found["a"] if each.id == first.id]
    assert (target.endpoint, target.p256dh, target.auth) == (browser.endpoint, browser.p256dh, browser.auth)
    assert (target.key_id, target.provider, target.is_opened) == ("k1", "push.example.com", True)
    at = stored_now() + timedelta(seconds=1)
    await repository.used([first.id], at)
    await repository.used([first.id], at - timedelta(hours=1))
    await repository.remove([second.id])
    [left] = await listed(own, "a")
    assert (left.id, left.last_used_at) == (first.id, to_proto(at))
    await database.close()


async def test_one_whose_seal_cannot_be_opened_blocks_nothing(
    own: Notifications, mongodb_database: MongoDatabase
) -> None:
    """Its user's others are there; a worker sees that its key is gone, and lists show it without its endpoint."""
    made = await register(own, "a")
    other = "other:" + base64.b64encode(bytes(32)).decode()
    database = Database(settings_for(mongodb_database))
    [target] = (await _repository(database, other).of_users(["a"]))["a"]
    assert (target.id, target.is_opened, target.auth) == (made.id, False, b"")
    await database.close()
    async with running_notifications(mongodb_database, secret_keys=other, **PUSH) as server:
        [shown] = await listed(server, "a")
        assert (shown.id, shown.web_push.endpoint) == (made.id, "")


async def test_a_key_is_not_removed_while_subscriptions_need_it(
    own: Notifications, mongodb_database: MongoDatabase
) -> None:
    """The start names it; with the key, or with the setting that gives it up, the server starts."""
    await register(own, "a")
    without = {**PUSH, "web_push_keys": f"k2:{NEW}"}
    with pytest.raises(StartFailed, match=r"'k1'.*WEB_PUSH_KEYS_GIVEN_UP"):
        async with running_notifications(mongodb_database, **without):
            pass
    with pytest.raises(StartFailed, match="'k1'"):
        async with running_notifications(mongodb_database):
            pass
    async with running_notifications(mongodb_database, **without, web_push_keys_given_up="k0, k1") as server:
        assert (await server.preferences.GetPushKey(pb.GetPushKeyRequest())).key_id == "k2"
