"""A worker asks what users prefer: what is off is kept back, quiet hours are waited out, and each mail has its link."""

from __future__ import annotations

from datetime import timedelta

import pytest

from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.model import Mode, QuietSpan, span
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.preferences.unsubscribe import Subscription, tokens_of
from tests.harness.delivering import Delivering


def preferences(delivering: Delivering) -> PreferencesRepository:
    """Return the preferences of the database."""
    return PreferencesRepository(delivering.database, delivering.now)


async def test_what_is_off_is_kept_back_but_what_is_critical(delivering: Delivering) -> None:
    """The entry that stands when it is about to be sent, not when it was created."""
    news, urgent = await delivering.create("ann", category="news"), await delivering.create("ann", critical=True)
    await preferences(delivering).set_entry("ann", ("email", "news"), Mode.OFF)
    await preferences(delivering).set_entry("ann", ("", ""), Mode.OFF)
    await delivering.worker().drain()
    row = await delivering.delivery(news)
    assert (row["state"], row["reason"], row["attempts"]) == ("suppressed", "suppressed_preference", 0)
    assert (await delivering.delivery(urgent))["state"] == "sent"


async def test_a_commercial_category_goes_to_whom_it_is_switched_on_for(delivering: Delivering) -> None:
    """And to nobody else, also once it was deleted."""
    categories = CategoriesRepository(delivering.database, delivering.now)
    await categories.put("offers", {"title": "Offers", "commercial": True}, "")
    await categories.delete("offers", "")
    await preferences(delivering).set_entry("ann", ("", "offers"), Mode.ON)
    for user_id in ("ann", "bob"):
        await delivering.create(user_id, category="offers")
    await delivering.worker().drain()
    assert [mail.to for mail in delivering.far_end.mails] == ["ann@example.com"]


async def test_quiet_hours_are_waited_out(delivering: Delivering) -> None:
    """It waits for their end without an attempt, says for what, and goes then."""
    now = delivering.now()
    start = (now - timedelta(minutes=5)).hour * 60 + (now - timedelta(minutes=5)).minute
    quiet = [span(QuietSpan(start, (start + 60) % 1_440))]
    await preferences(delivering).update("ann", {"quietHours": quiet}, "")
    key = await delivering.create("ann")
    await delivering.worker().drain()
    row = await delivering.delivery(key)
    assert (row["state"], row["deferral"], row["attempts"]) == ("pending", "quiet_hours", 0)
    assert timedelta(minutes=54) <= row["dueAt"] - now <= timedelta(minutes=56)
    await delivering.pass_until_due(key)
    await delivering.worker().drain()
    assert (await delivering.delivery(key))["state"] == "sent"


@pytest.mark.parametrize("category", ["news", ""])
async def test_a_mail_has_a_link_that_switches_its_category_off(delivering: Delivering, category: str) -> None:
    """What the link says is set, and the next one of the category stays back."""
    await delivering.create("ann", category=category)
    await delivering.worker().drain()
    (mail,) = delivering.far_end.mails
    assert mail.unsubscribe_url in mail.text
    found = tokens_of(delivering.links).read(mail.unsubscribe_url.partition("token=")[2])
    assert found == Subscription("ann", "email", category)
    await preferences(delivering).set_entry("ann", (found.channel, found.category), Mode.OFF)
    key = await delivering.create("ann", category=category)
    await delivering.worker().drain()
    assert (await delivering.delivery(key))["state"] == "suppressed"


async def test_what_cannot_be_switched_off_has_no_link(delivering: Delivering) -> None:
    """Neither in the mail nor in its header."""
    await CategoriesRepository(delivering.database, delivering.now).put("terms", {"title": "T", "mandatory": True}, "")
    await delivering.create("ann", category="terms")
    await delivering.create("bob", critical=True)
    await delivering.worker().drain()
    assert len(delivering.far_end.mails) == 2
    for mail in delivering.far_end.mails:
        assert mail.unsubscribe_url == ""
        assert "unsubscribe" not in mail.text
