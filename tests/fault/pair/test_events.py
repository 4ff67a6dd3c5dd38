"""Events across the pair come to what they must, once, whoever is down or killed, and in whatever order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymongo
import pytest

from tests.fault.pair import story
from tests.fault.pair.story import STEPS, act, begin, check, codes, hurry, left, rows, settle
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.pair import SeparatePair, Side, separate_pair
from tests.harness.patience import wait_for
from tests.harness.proxy import Proxy, proxy_to
from tests.harness.workers import serving

# Each starts both services, several times.
pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

# Stories under kills; a kill comes within so many seconds of a start.
ROUNDS = 12
SOON = 1.5


@pytest.fixture
def sides(mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path) -> Iterator[SeparatePair]:
    """Both services, serving."""
    with separate_pair(mysql_database, mongodb_database, tmp_path / "log", **story.settings()) as both:
        both.start()
        yield both


@pytest.fixture
def between(sides: SeparatePair) -> Iterator[Proxy]:
    """What stands between the services, on the users service's way."""
    with proxy_to("127.0.0.1", sides.notifications.port) as proxy:
        sides.users.stop()
        sides.users.settings = {**sides.users.settings, "NOTIFICATIONS_ADDRESS": f"127.0.0.1:{proxy.listens}"}
        sides.users.start()
        yield proxy


def mails(sides: SeparatePair, told: story.Told) -> int:
    """Return how many mails wait to be sent, but for those to the user who is deleted, which go, too."""
    with pymongo.MongoClient[dict[str, Any]](sides.mongodb.url) as client:
        chosen = {"kind": "direct", "userId": {"$ne": told.doomed}}
        return int(client.get_default_database().deliveries.count_documents(chosen))


def test_events_wait_for_a_service_that_is_down(sides: SeparatePair) -> None:
    """The notifications service is killed before them and stays away for many attempts: each comes once it is back."""
    told = begin(sides, "ann")
    settle(sides)
    sides.notifications.kill()
    act(sides, told)
    assert told.done == list(STEPS)

    def tried() -> bool:
        hurry(sides)
        return rows(sides, "SELECT MIN(attempts) FROM outbox") >= [(3,)]

    wait_for(tried, "several attempts at each")
    sides.notifications.start()
    settle(sides)
    check(sides, told)
    assert codes(sides) == 1


def test_events_outlive_the_service_that_left_them(sides: SeparatePair) -> None:
    """The users service is killed with all of them in its outbox: what was answered is told after the restart."""
    told = begin(sides, "ann")
    settle(sides)
    sides.notifications.kill()
    act(sides, told)
    assert told.done == list(STEPS)
    sides.users.kill()
    sides.start()
    settle(sides)
    check(sides, told)
    assert codes(sides) == 1


@pytest.mark.parametrize("dies", ["users", "notifications"])
def test_an_answer_that_nobody_heard_makes_no_second_mail(sides: SeparatePair, between: Proxy, dies: str) -> None:
    """The calls were carried out, and whoever made them, or answered them, dies before the answer is there."""
    told = begin(sides, "ann")
    settle(sides)
    between.cut()
    act(sides, told)
    assert told.done == list(STEPS)
    sides.users.kill()
    rows(sides, "UPDATE outbox SET leased_until = NULL, available_at = NOW(6) + INTERVAL 1 DAY")
    between.restore()
    sides.users.start()
    before = mails(sides, told)
    # Over the connection that this one opens all others are made at once.
    story.greet(sides)
    wait_for(lambda: mails(sides, told) == before + 1, "a connection")
    between.mute()
    rows(sides, "UPDATE outbox SET available_at = NOW(6)")
    # Three notices and a code.
    wait_for(lambda: mails(sides, told) == before + 5, "the calls to be carried out")
    side: Side = getattr(sides, dies)
    side.kill()
    assert left(sides)
    between.cut()
    between.restore()
    side.start()
    settle(sides)
    check(sides, told)
    assert (mails(sides, told), codes(sides)) == (before + 5, 1)


def test_events_may_come_twice_and_in_another_order(sides: SeparatePair) -> None:
    """The last first, and all of them again the other way round: nothing more comes of it."""
    told = begin(sides, "ann")
    settle(sides)
    sides.notifications.kill()
    act(sides, told)
    sides.users.kill()
    rows(sides, "CREATE TABLE kept AS SELECT * FROM outbox")
    order = "FLOOR(UNIX_TIMESTAMP(created_at) * 1000000)"
    early = "FROM_UNIXTIME(1700000000 + MOD({}, 100000000) / 1000000)"
    rows(sides, f"UPDATE outbox SET leased_until = NULL, available_at = {early.format('-' + order)}")
    sides.start()
    settle(sides)
    check(sides, told)
    before = mails(sides, told)
    again = "INSERT INTO outbox (id, kind, payload, attempts, created_at, available_at) "
    rows(sides, f"{again} SELECT id, kind, payload, attempts, created_at, {early.format(order)} FROM kept")
    settle(sides)
    check(sides, told)
    assert (mails(sides, told), codes(sides)) == (before, 1)


def test_either_side_may_be_killed_at_any_point(sides: SeparatePair) -> None:
    """While people act, one side and then the other is killed and started again; what was answered comes, once."""
    stories = [begin(sides, f"p{number}") for number in range(ROUNDS)]
    chance = random.Random(5)
    over = threading.Event()
    sides_in_turn = [sides.users, sides.notifications]

    def kill() -> None:
        while not over.wait(chance.uniform(0, SOON)):
            side = sides_in_turn[0]
            sides_in_turn.reverse()
            side.kill()
            side.start()

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        for told in stories:
            # Else a story would not even begin.
            wait_for(lambda: serving(sides.users.port), "the users service")
            act(sides, told)
    finally:
        over.set()
        killing.join()
    settle(sides)
    for told in stories:
        check(sides, told)
    asked = sum("ask for a code" in told.done for told in stories)
    unsure = sum("ask for a code" in told.unsure for told in stories)
    assert asked <= codes(sides) <= asked + unsure
    assert any(told.done for told in stories)
