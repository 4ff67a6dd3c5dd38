"""Unsubscribe: what the link of a mail does, and that nobody learns anything from it."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pymongo
import pytest
from vibework.notifications.v1 import notification_service_pb2 as feed
from vibework.notifications.v1 import preference_service_pb2 as service

from chassis.contract import tokentext
from notifications_service.preferences.model import Category
from notifications_service.preferences.settings import UnsubscribeSettings
from notifications_service.preferences.unsubscribe import UnsubscribeLinks
from tests.harness import spellings
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import running_notifications
from tests.integration.preferences.building import EMAIL, OFF, ON, entry, get, put, setting, update

URL = "https://example.com/unsubscribe?token={token}"
OLD = "old:" + base64.b64encode(bytes(range(32))).decode()
NEW = "new:" + base64.b64encode(bytes(range(1, 33))).decode()
# An address at which nobody listens.
NOBODY_THERE = "127.0.0.1:1"


def token(user_id: str, category: str, keys: str = OLD) -> str:
    """Return the token of a mail."""
    links = UnsubscribeLinks(UnsubscribeSettings(unsubscribe_url=URL, unsubscribe_keys=keys))  # type: ignore[arg-type]
    return links.of_mail(user_id, Category(category), critical=False).partition("=")[2]


def unsubscribe(text: str) -> service.UnsubscribeRequest:
    """Make a request."""
    return service.UnsubscribeRequest(token=text)


@pytest.mark.parametrize("category", ["news", "", "$a.b", "😀" * 64])
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_a_link_switches_its_category_off_by_email(
    mongodb_module_database: MongoDatabase, user_id: str, driver: str, category: str
) -> None:
    """Again and again with one outcome; of a mail without a category, what any category has by email."""
    async with running_notifications(
        mongodb_module_database, unsubscribe_keys=OLD, mongodb_driver=driver
    ) as notifications:
        stub = notifications.preferences
        await stub.SetPreference(setting(user_id, EMAIL, "other", ON))
        assert await stub.Unsubscribe(unsubscribe(token(user_id, category))) == service.UnsubscribeResponse()
        first = await get(stub, user_id)
        assert list(first.entries) == [entry(EMAIL, "other", ON), entry(EMAIL, category, OFF)]
        await stub.Unsubscribe(unsubscribe(token(user_id, category)))
        assert await get(stub, user_id) == first


async def test_a_token_outlives_its_key_its_user_and_the_users_service(
    mongodb_module_database: MongoDatabase, user_id: str
) -> None:
    """Keys rotate, the user is deleted, the other service is away: it does what it did."""
    settings: dict[str, Any] = {
        "unsubscribe_keys": f"{NEW},{OLD}",
        "recipient_check": "required",
        "users_address": NOBODY_THERE,
    }
    async with running_notifications(mongodb_module_database, **settings) as notifications:
        stub = notifications.preferences
        await notifications.feed.DeleteUserNotifications(feed.DeleteUserNotificationsRequest(user_id=user_id))
        await stub.Unsubscribe(unsubscribe(token(user_id, "old", OLD)))
        await stub.Unsubscribe(unsubscribe(token(user_id, "new", NEW)))
        assert {each.category for each in (await get(stub, user_id)).entries} == {"old", "new"}


async def test_a_token_that_was_not_issued_is_answered_alike_and_does_nothing(
    mongodb_database: MongoDatabase, user_id: str
) -> None:
    """Of another key, of an altered text, of another spelling, or of nothing: OK, and no row is written."""
    good = token(user_id, "news")
    sealed = tokentext.read(good)
    wrong = [
        "",
        "x",
        "😀",
        "A" * 8_192,
        token(user_id, "news", NEW),
        tokentext.write(bytes([*sealed[:-1], sealed[-1] ^ 1])),
        tokentext.write(sealed[:-1]),
        tokentext.write(bytes([9, *sealed[1:]])),
        *spellings.of_base64(good),
    ]
    for keys in (OLD, None):
        async with running_notifications(mongodb_database, unsubscribe_keys=keys) as notifications:
            for text in wrong if keys else [good]:
                answer = await notifications.preferences.Unsubscribe(unsubscribe(text))
                assert answer == service.UnsubscribeResponse()
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        assert list(client.get_default_database().preferences.find()) == []


async def test_it_holds_beyond_200_entries_and_for_a_mandatory_category(
    mongodb_module_database: MongoDatabase, user_id: str
) -> None:
    """Nobody is told that there is no room to unsubscribe, and what became mandatory since may end to be."""
    async with running_notifications(mongodb_module_database, unsubscribe_keys=OLD) as notifications:
        stub = notifications.preferences
        await stub.PutCategory(put(f"terms-{user_id}", mandatory=True))
        entries = [entry(EMAIL, f"category-{number}", OFF) for number in range(200)]
        await stub.UpdatePreferences(update(user_id, "entries", entries=entries))
        await stub.Unsubscribe(unsubscribe(token(user_id, f"terms-{user_id}")))
        assert list((await get(stub, user_id)).entries) == [*entries, entry(EMAIL, f"terms-{user_id}", OFF)]


async def test_links_that_are_opened_at_the_same_moment_all_hold(
    mongodb_module_database: MongoDatabase, user_id: str
) -> None:
    """Of several mails, beside what the user sets."""
    async with running_notifications(mongodb_module_database, unsubscribe_keys=OLD) as running:
        stub: Any = running.preferences
        tokens = [token(user_id, f"category-{number % 8}") for number in range(16)]
        sets = [setting(user_id, EMAIL, f"other-{number}", ON) for number in range(8)]
        await asyncio.gather(
            *(stub.Unsubscribe(unsubscribe(text)) for text in tokens), *(stub.SetPreference(each) for each in sets)
        )
        assert len((await get(stub, user_id)).entries) == 16
