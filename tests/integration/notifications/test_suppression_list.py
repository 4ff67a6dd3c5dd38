"""The suppression list in the database: what holds when, under which keys, and what a dump of it shows."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from chassis.keyring import Keyring
from notifications_service.addresses import AddressHashes
from notifications_service.mongodb import database as databases
from notifications_service.mongodb.database import Database
from notifications_service.suppressions.model import BOUNCE_HOLDS, Suppression, SuppressionFilter, SuppressionReason
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.suppressions.resealing import reseal_list
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS, settings_for

BOUNCE, COMPLAINT = SuppressionReason.BOUNCE, SuppressionReason.COMPLAINT
NEW_KEY = "new:" + base64.b64encode(bytes(range(32, 64))).decode()
AT_ONCE = 16
ANY, OF_ANN = SuppressionFilter(), SuppressionFilter("ann@example.com")


@pytest.fixture
async def database(mongodb_database: MongoDatabase) -> AsyncIterator[Database]:
    """The test's own database, as the service uses it."""
    opened = Database(settings_for(mongodb_database))
    yield opened
    await opened.close()


def listed(database: Database, keys: str = SECRET_KEYS) -> SuppressionRepository:
    """Return the list under these keys."""
    return SuppressionRepository(database, Keyring.parse(keys))


async def put(database: Database, new: Suppression, keys: str = SECRET_KEYS) -> bool:
    """Put a suppression on the list, in a transaction of its own."""
    return await database.transaction(lambda session: listed(database, keys).put_in(session, new))


async def page(
    database: Database, chosen: SuppressionFilter, now: datetime, keys: str = SECRET_KEYS
) -> list[Suppression]:
    """Return the newest suppressions that match."""
    return [found for _, found in await listed(database, keys).page(chosen, None, now, AT_ONCE)]


async def test_a_bounce_ends_by_itself_and_a_complaint_does_not(database: Database) -> None:
    """Until the sweeper comes a bounce that has ended is hidden; the complaint stays until somebody deletes it."""
    at = stored_now()
    for reason in SuppressionReason:
        assert await put(database, Suppression("Ann@Example.com", reason, at, "dlv_1", "550"))
    before, after = at + BOUNCE_HOLDS - timedelta(milliseconds=1), at + BOUNCE_HOLDS
    asked = ["ANN@example.com ", "bob@example.com"]
    assert await listed(database).active(asked, before) == {"ann@example.com": {BOUNCE, COMPLAINT}}
    assert await listed(database).active(asked, after) == {"ann@example.com": {COMPLAINT}}
    assert await listed(database).active([], after) == {}
    assert await listed(database).count(ANY, after) == 1
    assert [found.reason for found in await page(database, ANY, after)] == [COMPLAINT]
    assert [found.reason for found in await page(database, OF_ANN, after)] == [COMPLAINT]
    assert await listed(database).delete("ann@example.com", [BOUNCE], after) == 0
    assert await listed(database).delete("ann@example.com", list(SuppressionReason), after) == 1
    assert await listed(database).active(asked, before) == {"ann@example.com": {BOUNCE}}


async def test_a_report_that_comes_twice_or_late_changes_nothing(database: Database) -> None:
    """A newer one renews the suppression; the same and an older one leave it."""
    at, later = stored_now(), stored_now() + timedelta(days=1)
    assert await put(database, Suppression("ann@example.com", BOUNCE, at, "dlv_1"))
    assert not await put(database, Suppression("ann@example.com", BOUNCE, at, "dlv_1"))
    assert await put(database, Suppression("ann@example.com", BOUNCE, later, "dlv_2"))
    assert not await put(database, Suppression("ann@example.com", BOUNCE, at, "dlv_3"))
    [found] = await page(database, OF_ANN, later)
    assert (found.created_at, found.delivery_id, found.expires_at) == (later, "dlv_2", later + BOUNCE_HOLDS)


async def test_of_many_reports_at_once_one_row_is_left(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Webhooks of one address that come together neither fail nor leave a second row."""
    # On a busy machine one of so many may lose more often than a call tries.
    monkeypatch.setattr(databases, "ATTEMPTS", 11)
    start = stored_now()
    times = [start + timedelta(milliseconds=number) for number in range(AT_ONCE)]
    await asyncio.gather(*(put(database, Suppression("ann@example.com", BOUNCE, at)) for at in times))
    assert [found.created_at for found in await page(database, ANY, start)] == [times[-1]]


async def test_the_list_outlives_a_rotation_of_keys(database: Database) -> None:
    """What was put under the older key still holds, and a renewal puts it under the newer, as one row."""
    at, both = stored_now(), f"{NEW_KEY},{SECRET_KEYS}"
    await put(database, Suppression("ann@example.com", COMPLAINT, at))
    assert await listed(database, both).active(["ann@example.com"], at) == {"ann@example.com": {COMPLAINT}}
    assert await put(database, Suppression("ann@example.com", COMPLAINT, at + timedelta(hours=1)), both)
    [found] = await page(database, ANY, at, NEW_KEY)
    assert found.address == "ann@example.com"


async def test_the_whole_list_is_put_under_the_newest_key(database: Database) -> None:
    """Afterwards the old key may go: every complaint still holds, and what was renewed meanwhile is there once."""
    at, both = stored_now(), f"{NEW_KEY},{SECRET_KEYS}"
    addresses = [f"user{number}@example.com" for number in range(AT_ONCE)]
    for address in addresses:
        await put(database, Suppression(address, COMPLAINT, at))
    await put(database, Suppression(addresses[0], COMPLAINT, at + timedelta(hours=1)), both)
    gone = await reseal_list(listed(database, NEW_KEY))
    assert (gone.done, gone.keyless.count) == (0, AT_ONCE - 1)
    result = await reseal_list(listed(database, both))
    assert (result.done, result.keyless.count, result.damaged.count) == (AT_ONCE - 1, 0, 0)
    assert (await reseal_list(listed(database, both))).done == 0
    held = await listed(database, NEW_KEY).active(addresses, at)
    assert held == dict.fromkeys(addresses, frozenset({COMPLAINT}))
    assert await listed(database, NEW_KEY).count(ANY, at) == AT_ONCE


async def test_a_row_whose_key_is_gone_stays_on_the_list(database: Database) -> None:
    """It is listed without its address, so that counts and pages agree, and does not make the page fail."""
    at = stored_now()
    await put(database, Suppression("ann@example.com", COMPLAINT, at))
    [found] = await page(database, ANY, at, NEW_KEY)
    assert (found.address, found.reason) == ("", COMPLAINT)


async def test_a_suppression_holds_by_the_hash_alone(database: Database) -> None:
    """Of a mail whose address nobody knows any longer the attempt has the hash, and a later report the address."""
    at, hashed = stored_now(), AddressHashes(Keyring.parse(SECRET_KEYS)).of("ann@example.com")
    nameless = Suppression("", BOUNCE, at)
    assert await database.transaction(lambda session: listed(database).put_in(session, nameless, hashed))
    assert await listed(database).active(["ann@example.com"], at) == {"ann@example.com": {BOUNCE}}
    assert [found.address for found in await page(database, ANY, at)] == [""]
    assert [found.address for found in await page(database, OF_ANN, at)] == ["ann@example.com"]
    assert await put(database, Suppression("ann@example.com", BOUNCE, at + timedelta(hours=1)))
    assert [found.address for found in await page(database, ANY, at)] == ["ann@example.com"]


async def test_no_address_stands_in_the_database(database: Database, raw_of_own: Any) -> None:
    """Neither the address nor a hash that could be guessed at is in what a dump shows."""
    await put(database, Suppression("ann.unusual@example.com", BOUNCE, stored_now()))
    [row] = list(raw_of_own.suppressions.find())
    assert b"unusual" not in bytes(row["address"])
    assert "unusual" not in repr(row)
