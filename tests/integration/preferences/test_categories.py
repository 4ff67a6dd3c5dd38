"""Categories: registered, listed by name, deleted into a tombstone, and there again."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import preference_service_pb2 as service
from vibework.notifications.v1 import preferences_pb2 as pb

from chassis.clock import utc_now
from notifications_service.clock import in_milliseconds
from notifications_service.mongodb.database import Database
from notifications_service.preferences.categories import CategoriesRepository
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, settings_for
from tests.harness.users import metadata, reason
from tests.integration.preferences.building import EMAIL, NO_ROW, OFF, PUSH, listed, put

RACERS = 16


def default(channel: Any, mode: Any) -> pb.CategoryDefault:
    """Make a default."""
    return pb.CategoryDefault(channel=channel, mode=mode)


def delete(name: str, **fields: Any) -> service.DeleteCategoryRequest:
    """Make a request that deletes a category."""
    return service.DeleteCategoryRequest(name=name, **fields)


async def refusal(call: Any) -> tuple[str, dict[str, str]]:
    """Return the reason and the metadata of the error of a call."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return reason(caught.value), metadata(caught.value)


async def test_a_category_is_registered_and_changed_as_a_whole(notifications: Notifications, user_id: str) -> None:
    """What a second call does not say is not so any more; when it was created stays."""
    stub, name = notifications.preferences, f"news-{user_id}"
    whole = {"title": "News", "description": "What is new", "commercial": True}
    defaults = [default(PUSH, OFF), default(EMAIL, OFF)]
    first = await stub.PutCategory(put(name, defaults=defaults, **whole))
    assert first.created
    assert (first.category.title, first.category.description) == ("News", "What is new")
    assert (first.category.commercial, list(first.category.defaults)) == (True, defaults)
    second = await stub.PutCategory(put(name, title="$title", mandatory=True, etag=first.category.etag))
    assert not second.created
    expected = pb.Category(name=name, title="$title", mandatory=True, created_at=first.category.created_at)
    expected.updated_at.CopyFrom(second.category.updated_at)
    expected.etag = second.category.etag
    assert second.category == expected
    assert second.category.etag != first.category.etag
    assert [each for each in await listed(stub, page_size=100) if each.name == name] == [second.category]


async def test_an_etag_guards_put_and_delete(notifications: Notifications, user_id: str) -> None:
    """An outdated one changes nothing, one that was never issued neither; that of nothing is of a new one."""
    stub, name = notifications.preferences, f"news-{user_id}"
    assert await refusal(stub.PutCategory(put(name, etag='"1.1"'))) == ("ETAG_MISMATCH", {"current_etag": NO_ROW})
    first = (await stub.PutCategory(put(name, etag=NO_ROW))).category
    second = (await stub.PutCategory(put(name, etag=first.etag))).category
    for etag in (NO_ROW, first.etag, "x", f" {second.etag}"):
        for call in (stub.PutCategory(put(name, etag=etag)), stub.DeleteCategory(delete(name, etag=etag))):
            assert await refusal(call) == ("ETAG_MISMATCH", {"current_etag": second.etag})
    await stub.DeleteCategory(delete(name, etag=second.etag))


async def test_a_deleted_category_is_off_the_list_and_comes_back(notifications: Notifications, user_id: str) -> None:
    """Its tombstone is listed where that is asked for; registered again it is created anew."""
    stub, name = notifications.preferences, f"news-{user_id}"
    first = (await stub.PutCategory(put(name, mandatory=True))).category
    await stub.DeleteCategory(delete(name))
    assert name not in {each.name for each in await listed(stub)}
    [tombstone] = [each for each in await listed(stub, include_deleted=True) if each.name == name]
    assert tombstone.mandatory
    assert tombstone.HasField("deleted_at")
    assert tombstone.created_at == first.created_at
    again = await stub.PutCategory(put(name, etag=tombstone.etag))
    assert again.created
    assert not again.category.HasField("deleted_at")
    assert again.category.created_at == again.category.updated_at
    assert again.category.etag not in {first.etag, tombstone.etag}


async def test_what_is_missing_is_not_deleted(notifications: Notifications, user_id: str) -> None:
    """A name that nobody registered, and one that was deleted, are NOT_FOUND unless the caller allows it."""
    stub, name = notifications.preferences, f"news-{user_id}"
    for _ in range(2):
        assert await refusal(stub.DeleteCategory(delete(name))) == ("CATEGORY_NOT_FOUND", {"id": name})
        assert await refusal(stub.DeleteCategory(delete(name, etag='"1.1"'))) == ("CATEGORY_NOT_FOUND", {"id": name})
        await stub.DeleteCategory(delete(name, allow_missing=True))
        await stub.DeleteCategory(delete(name, allow_missing=True, etag='"1.1"'))
        await stub.PutCategory(put(name))
        await stub.DeleteCategory(delete(name))


async def test_categories_are_listed_by_name_and_pages_hold(notifications: Notifications, user_id: str) -> None:
    """In the order of bytes, each once, also where the last of a page is deleted meanwhile."""
    stub = notifications.preferences
    names = [f"{user_id}-{letter}" for letter in "ABCabcäÄ€😀"]
    for name in reversed(names):
        await stub.PutCategory(put(name))
    expected = sorted(names, key=str.encode)
    found = [each.name for each in await listed(stub, page_size=3) if each.name in names]
    assert found == expected
    page = await stub.ListCategories(service.ListCategoriesRequest(page_size=1, include_deleted=True))
    await stub.DeleteCategory(delete(page.categories[0].name, allow_missing=True))
    request = service.ListCategoriesRequest(page_token=page.next_page_token, include_deleted=True, page_size=100)
    following = [each.name for each in (await stub.ListCategories(request)).categories]
    assert page.categories[0].name not in following
    other = service.ListCategoriesRequest(page_token=page.next_page_token)
    assert (await refusal(stub.ListCategories(other)))[0] == "PAGE_TOKEN_FILTER_MISMATCH"


async def test_of_several_who_register_at_the_same_moment_one_creates(
    notifications: Notifications, user_id: str
) -> None:
    """All are stored, one after another, and each is told what it stored; with an etag only one is."""
    stub: Any = notifications.preferences
    name = f"news-{user_id}"
    calls = (stub.PutCategory(put(name, title=f"Title {number}")) for number in range(RACERS))
    answers = await asyncio.gather(*calls)
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.category.etag for answer in answers}) == RACERS
    [stored] = [each for each in await listed(stub) if each.name == name]
    assert stored == next(answer.category for answer in answers if answer.category.etag == stored.etag)
    guarded = (stub.PutCategory(put(name, title=f"Title {number}", etag=stored.etag)) for number in range(RACERS))
    outcomes = await asyncio.gather(*guarded, return_exceptions=True)
    assert sum(isinstance(outcome, grpc.aio.AioRpcError) for outcome in outcomes) == RACERS - 1


async def test_many_are_read_in_one_query(mongodb_module_database: MongoDatabase, user_id: str) -> None:
    """The worker reads the categories of a batch at once: registered, deleted, and such as nobody registered."""
    database = Database(settings_for(mongodb_module_database))
    try:
        categories = CategoriesRepository(database, in_milliseconds(utc_now))
        await categories.put(f"a-{user_id}", {"title": "A", "mandatory": True}, "")
        await categories.put(f"b-{user_id}", {"title": "B", "commercial": True}, "")
        await categories.delete(f"b-{user_id}", "")
        found = await categories.by_names([f"a-{user_id}", f"b-{user_id}", f"c-{user_id}", ""])
        assert [(each.mandatory, each.commercial, each.is_there) for each in found.values()] == [
            (True, False, True),
            (False, True, False),
            (False, False, False),
            (False, False, False),
        ]
        assert await categories.by_names([]) == {}
    finally:
        await database.close()
