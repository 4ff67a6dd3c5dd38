"""Reading and changing preferences: masks, etags, what is refused, and what goes with a deleted user."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2 as feed
from vibework.notifications.v1 import preference_service_pb2 as service
from vibework.notifications.v1 import preferences_pb2 as pb

from tests.harness.notifications import Notifications
from tests.harness.users import metadata, reason, violations
from tests.integration.preferences.building import (
    ANY,
    DIGESTS,
    EMAIL,
    NO_ROW,
    OFF,
    ON,
    PUSH,
    entry,
    get,
    put,
    setting,
    span,
    update,
)

NIGHT = span(22 * 60, 7 * 60)
ALL = ("entries", "time_zone", "quiet_hours", "digest_time", "locale")


async def test_who_never_set_any_has_the_defaults(notifications: Notifications, user_id: str) -> None:
    """No entries, no quiet hours, and an etag by which a first change can be guarded."""
    assert await get(notifications.preferences, user_id) == pb.Preferences(user_id=user_id, etag=NO_ROW)


async def test_an_update_changes_what_the_mask_names(notifications: Notifications, user_id: str) -> None:
    """The rest stays, the etag moves, and what is answered is what is stored."""
    stub = notifications.preferences
    entries = [entry(EMAIL, "news", OFF), entry(ANY, "", ON), entry(PUSH, "$a.b", OFF)]
    spans = [NIGHT, span(0, 1440, 7, 6)]
    whole = {"entries": entries, "time_zone": "Europe/Berlin", "quiet_hours": spans, "locale": "pt-BR"}
    first = (await stub.UpdatePreferences(update(user_id, "*", **whole))).preferences
    assert list(first.entries) == entries
    assert [tuple(each.weekdays) for each in first.quiet_hours] == [(), (6, 7)]
    assert (first.time_zone, first.locale) == ("Europe/Berlin", "pt-BR")
    assert first.HasField("updated_at")
    assert await get(stub, user_id) == first
    second = (await stub.UpdatePreferences(update(user_id, "locale", time_zone="Asia/Tokyo"))).preferences
    assert (second.locale, second.time_zone) == ("", "Europe/Berlin")
    assert (list(second.entries), list(second.quiet_hours)) == (entries, list(first.quiet_hours))
    assert second.etag != first.etag
    third = (await stub.UpdatePreferences(update(user_id, "*", etag=second.etag))).preferences
    assert third == pb.Preferences(user_id=user_id, updated_at=third.updated_at, etag=third.etag)
    assert await get(stub, user_id) == third


async def test_an_etag_guards_an_update(notifications: Notifications, user_id: str) -> None:
    """Of what is there and of what is not there yet; with one that was never issued nothing changes."""
    stub = notifications.preferences
    first = (await stub.UpdatePreferences(update(user_id, "locale", locale="de", etag=NO_ROW))).preferences
    second = (await stub.UpdatePreferences(update(user_id, "locale", locale="fr", etag=first.etag))).preferences
    for etag in (NO_ROW, first.etag, "x", '"1"', second.etag + " ", '"1."', '".1"'):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UpdatePreferences(update(user_id, "locale", locale="en", etag=etag))
        assert caught.value.code() is grpc.StatusCode.ABORTED
        assert reason(caught.value) == "ETAG_MISMATCH"
        assert metadata(caught.value) == {"current_etag": second.etag}
    assert await get(stub, user_id) == second


async def test_an_etag_does_not_outlive_a_deletion(pymongo_notifications: Notifications, user_id: str) -> None:
    """Preferences that were deleted and set again are others, though they are their first change again."""
    stub = pymongo_notifications.preferences
    first = (await stub.UpdatePreferences(update(user_id, "locale", locale="de"))).preferences
    await pymongo_notifications.feed.DeleteUserNotifications(feed.DeleteUserNotificationsRequest(user_id=user_id))
    assert await get(stub, user_id) == pb.Preferences(user_id=user_id, etag=NO_ROW)
    again = (await stub.UpdatePreferences(update(user_id, "locale", locale="de"))).preferences
    assert again.etag != first.etag


@pytest.mark.parametrize(
    ("request_", "expected", "field", "rule"),
    [
        (update("u"), "INVALID_FIELDS", "update_mask", "MASK_EMPTY"),
        (update("u", "etag"), "FIELD_MASK_INVALID", "update_mask", "MASK_PATH"),
        (update("u", "user_id"), "FIELD_MASK_INVALID", "update_mask", "MASK_PATH"),
        (update("u", "entries.mode"), "FIELD_MASK_INVALID", "update_mask", "MASK_PATH"),
        (update("u", "time_zone", time_zone="Europe/berlin"), "INVALID_FIELDS", "preferences.time_zone", "TIME_ZONE"),
        (update("u", "time_zone", time_zone="../UTC"), "INVALID_FIELDS", "preferences.time_zone", "TIME_ZONE"),
        (
            update("u", "quiet_hours", quiet_hours=[NIGHT, span(7 * 60, 22 * 60)]),
            "INVALID_FIELDS",
            "preferences.quiet_hours",
            "QUIET_HOURS_ENDLESS",
        ),
    ],
)
async def test_a_wrong_update_names_its_field(
    pymongo_notifications: Notifications,
    request_: service.UpdatePreferencesRequest,
    expected: str,
    field: str,
    rule: str,
) -> None:
    """A mask that names nothing, or what cannot change; a time zone that there is not; quiet hours without an end."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.preferences.UpdatePreferences(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (reason(caught.value), violations(caught.value)) == (expected, [field])
    assert rule in str(caught.value.trailing_metadata())


async def test_what_the_mask_does_not_name_is_not_looked_at(pymongo_notifications: Notifications, user_id: str) -> None:
    """A time zone that there is not is no fault of a change of the language."""
    stub = pymongo_notifications.preferences
    answer = await stub.UpdatePreferences(update(user_id, "locale", locale="de", time_zone="Nowhere"))
    assert (answer.preferences.locale, answer.preferences.time_zone) == ("de", "")


@pytest.mark.parametrize("mode", DIGESTS)
async def test_digests_are_modes_of_email(notifications: Notifications, user_id: str, mode: Any) -> None:
    """They are set like other modes, in preferences and as defaults of a category, and are read back."""
    stub = notifications.preferences
    await stub.SetPreference(setting(user_id, EMAIL, "news", mode))
    assert list((await get(stub, user_id)).entries) == [entry(EMAIL, "news", mode)]
    await stub.UpdatePreferences(update(user_id, "entries", entries=[entry(EMAIL, "", mode), entry(PUSH, "", OFF)]))
    assert list((await get(stub, user_id)).entries) == [entry(EMAIL, "", mode), entry(PUSH, "", OFF)]
    default = pb.CategoryDefault(channel=EMAIL, mode=mode)
    answer = await stub.PutCategory(put(f"digested-{user_id}", defaults=[default]))
    assert list(answer.category.defaults) == [default]


@pytest.mark.parametrize("channel", [PUSH, ANY])
@pytest.mark.parametrize("mode", DIGESTS)
async def test_a_digest_is_for_email_alone(
    pymongo_notifications: Notifications, user_id: str, channel: Any, mode: Any
) -> None:
    """No other channel has one, nor all of them together."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pymongo_notifications.preferences.SetPreference(setting(user_id, channel, "news", mode))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "DIGEST_BY_EMAIL" in str(caught.value.trailing_metadata())


@pytest.mark.parametrize(
    "time", [pb.DigestTime(minute=1_439, weekday=pb.WEEKDAY_SUNDAY), pb.DigestTime(minute=30), pb.DigestTime()]
)
async def test_the_time_of_digests_is_kept_as_it_was_given(
    notifications: Notifications, user_id: str, time: pb.DigestTime
) -> None:
    """Midnight and no weekday are something other than nothing; the unset one is what nobody has set."""
    stub = notifications.preferences
    answer = await stub.UpdatePreferences(update(user_id, "digest_time", digest_time=time))
    assert answer.preferences.digest_time == time
    assert (await get(stub, user_id)).digest_time == time
    answer = await stub.UpdatePreferences(update(user_id, "digest_time"))
    assert not answer.preferences.HasField("digest_time")
    assert not (await get(stub, user_id)).HasField("digest_time")


async def test_a_mandatory_category_is_not_switched_off(notifications: Notifications, user_id: str) -> None:
    """By no channel, also when it was deleted; switching it on, or removing the entry, is no fault."""
    stub = notifications.preferences
    await stub.PutCategory(put(f"terms-{user_id}", mandatory=True))
    for delete in (False, True):
        if delete:
            await stub.DeleteCategory(service.DeleteCategoryRequest(name=f"terms-{user_id}"))
        for call in (
            stub.SetPreference(setting(user_id, ANY, f"terms-{user_id}", OFF)),
            stub.UpdatePreferences(update(user_id, "entries", entries=[entry(EMAIL, f"terms-{user_id}", OFF)])),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert reason(caught.value) == "CATEGORY_MANDATORY"
            assert metadata(caught.value) == {"category": f"terms-{user_id}"}
    await stub.UpdatePreferences(update(user_id, "entries", entries=[entry(EMAIL, f"terms-{user_id}", ON)]))
    await stub.SetPreference(setting(user_id, ANY, f"terms-{user_id}", ON))
    assert len((await get(stub, user_id)).entries) == 2


async def test_the_preferences_of_a_deleted_user_go(notifications: Notifications, user_id: str) -> None:
    """The users service says so once, by DeleteUserNotifications; another user's stay."""
    stub, other = notifications.preferences, f"{user_id}_other"
    for each in (user_id, other):
        await stub.SetPreference(setting(each, EMAIL, "", OFF))
    await notifications.feed.DeleteUserNotifications(feed.DeleteUserNotificationsRequest(user_id=user_id))
    assert list((await get(stub, user_id)).entries) == []
    assert list((await get(stub, other)).entries) == [entry(EMAIL, "", OFF)]
