"""SetPreference: one entry at a time, exactly, whatever others do at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import preferences_pb2 as pb

from tests.harness.notifications import Notifications
from tests.harness.users import metadata, reason
from tests.integration.preferences.building import (
    ANY,
    EMAIL,
    NO_MODE,
    NO_ROW,
    OFF,
    ON,
    PUSH,
    entry,
    get,
    setting,
    update,
)

RACERS = 16


async def test_an_entry_is_set_changed_and_removed(notifications: Notifications, user_id: str) -> None:
    """Each pair of channel and category has one entry; the others are left as they are."""
    stub = notifications.preferences
    await stub.UpdatePreferences(update(user_id, "time_zone", "locale", time_zone="Asia/Tokyo", locale="ja"))
    for channel, category in ((EMAIL, "news"), (ANY, "news"), (EMAIL, ""), (PUSH, "$news")):
        await stub.SetPreference(setting(user_id, channel, category, OFF))
    changed = (await stub.SetPreference(setting(user_id, EMAIL, "news", ON))).preferences
    assert {(each.channel, each.category, each.mode) for each in changed.entries} == {
        (EMAIL, "news", ON),
        (ANY, "news", OFF),
        (EMAIL, "", OFF),
        (PUSH, "$news", OFF),
    }
    assert (changed.time_zone, changed.locale) == ("Asia/Tokyo", "ja")
    removed = (await stub.SetPreference(setting(user_id, ANY, "news", NO_MODE))).preferences
    assert [(each.channel, each.category) for each in removed.entries] == [
        (EMAIL, ""),
        (PUSH, "$news"),
        (EMAIL, "news"),
    ]
    assert await get(stub, user_id) == removed


async def test_what_is_so_already_changes_nothing(notifications: Notifications, user_id: str) -> None:
    """A repeated call answers the same, so that a client may repeat it and an etag holds."""
    stub = notifications.preferences
    nothing = (await stub.SetPreference(setting(user_id, EMAIL, "news", NO_MODE))).preferences
    assert nothing == pb.Preferences(user_id=user_id, etag=NO_ROW)
    first = (await stub.SetPreference(setting(user_id, EMAIL, "news", OFF))).preferences
    assert (await stub.SetPreference(setting(user_id, EMAIL, "news", OFF))).preferences == first
    assert (await stub.SetPreference(setting(user_id, EMAIL, "other", NO_MODE))).preferences == first


async def test_there_are_at_most_200_entries(notifications: Notifications, user_id: str) -> None:
    """One more is refused with the limit; those that are there can still be changed and removed."""
    stub = notifications.preferences
    entries = [entry(EMAIL, f"category-{number}", OFF) for number in range(200)]
    full = (await stub.UpdatePreferences(update(user_id, "entries", entries=entries))).preferences
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.SetPreference(setting(user_id, EMAIL, "one more", OFF))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert (reason(caught.value), metadata(caught.value)) == ("PREFERENCES_FULL", {"limit": "200"})
    assert await get(stub, user_id) == full
    changed = (await stub.SetPreference(setting(user_id, EMAIL, "category-7", ON))).preferences
    assert len(changed.entries) == 200
    await stub.SetPreference(setting(user_id, EMAIL, "category-8", NO_MODE))
    await stub.SetPreference(setting(user_id, EMAIL, "one more", OFF))


async def test_entries_set_at_the_same_moment_all_hold(notifications: Notifications, user_id: str) -> None:
    """Of a user who had none: nobody's entry is lost to another's, and the last of each pair stands."""
    stub: Any = notifications.preferences
    calls = [setting(user_id, EMAIL, f"category-{number}", OFF) for number in range(RACERS)]
    await asyncio.gather(*(stub.SetPreference(call) for call in calls))
    found = await get(stub, user_id)
    assert {each.category for each in found.entries} == {call.category for call in calls}
    assert found.etag.startswith(f'"{RACERS}.')


async def test_the_limit_holds_at_the_same_moment(notifications: Notifications, user_id: str) -> None:
    """Of sixteen who set the last entry that there may be, one does."""
    stub: Any = notifications.preferences
    entries = [entry(EMAIL, f"category-{number}", OFF) for number in range(199)]
    await stub.UpdatePreferences(update(user_id, "entries", entries=entries))
    calls = (stub.SetPreference(setting(user_id, EMAIL, f"late-{number}", OFF)) for number in range(RACERS))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert [reason(error) for error in refused] == ["PREFERENCES_FULL"] * (RACERS - 1)
    assert len((await get(stub, user_id)).entries) == 200


async def test_one_of_several_updates_with_an_etag_wins(notifications: Notifications, user_id: str) -> None:
    """Of sixteen who change what they have read, one does, the first of all as well as a later one."""
    stub: Any = notifications.preferences
    for _ in range(2):
        before = await get(stub, user_id)
        calls = (update(user_id, "locale", locale=f"de-{number}", etag=before.etag) for number in range(RACERS))
        answers = await asyncio.gather(*map(stub.UpdatePreferences, calls), return_exceptions=True)
        won = [answer.preferences for answer in answers if not isinstance(answer, BaseException)]
        refused = [reason(answer) for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
        assert refused == ["ETAG_MISMATCH"] * (RACERS - 1)
        assert won == [await get(stub, user_id)]


async def test_an_update_beside_entries_loses_neither(notifications: Notifications, user_id: str) -> None:
    """A change of the language and entries that are set meanwhile are of different fields."""
    stub: Any = notifications.preferences
    calls = [setting(user_id, PUSH, f"category-{number}", OFF) for number in range(RACERS // 2)]
    languages = [update(user_id, "locale", locale="de") for _ in range(RACERS // 2)]
    await asyncio.gather(*map(stub.SetPreference, calls), *map(stub.UpdatePreferences, languages))
    found = await get(stub, user_id)
    assert (len(found.entries), found.locale) == (RACERS // 2, "de")
