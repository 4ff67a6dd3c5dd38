"""The history of every call is checked through a fault, and the checks find a service without one of its guards.

`script/fault` does the same with two processes of each service, replicas, proxies and every fault.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.reliability.cluster import running_small
from tests.reliability.load import objects
from tests.reliability.load.running import loading
from tests.reliability.mutants import MUTANTS
from tests.reliability.running import verdict_of
from tests.reliability.stored import settle

# Those on whose objects several work at once, and in which a guard that is gone shows.
GUARDED: Final = (
    objects.a_user_changes,
    objects.a_notification_changes,
    objects.a_session_is_used,
    objects.a_secret_is_consumed,
)
# A race may be won by whoever was to lose it.
ROUNDS: Final = 20
# Calls a second.
QUICK: Final = 500.0


def test_a_killed_process(mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path) -> None:
    """A process of two is killed under load: nothing acknowledged is lost, doubled, another's, or out of order."""
    with running_small(mysql_database, mongodb_database, tmp_path) as pair, loading(*pair.addresses) as load:
        load.begin("x")
        load.await_stories(1, objects.a_secret_is_consumed)
        pair.users[0].kill()
        load.await_stories(1, objects.a_user_changes, objects.a_session_is_used)
        load.pause()
        left = settle(pair)
        history, ended = load.end()
        verdict = verdict_of(pair, history, "x")
    assert (ended, verdict.broken, list(verdict.undecided), left) == ([], {}, [], 0)
    assert min(verdict.checked.values()) > 0


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("guard", MUTANTS)
def test_a_missing_guard_is_found(
    mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path, guard: str
) -> None:
    """Without a guard some history is one that no right service has, and the check that is for it says so."""
    found: set[str] = set()
    with running_small(mysql_database, mongodb_database, tmp_path, WITHOUT_GUARD=guard) as pair:
        for number in range(ROUNDS):
            with loading(*pair.addresses, seed=number) as load:
                # As quick as they can: calls that are held apart overlap on a busy machine alone.
                load.pace.per_second = QUICK
                load.begin(f"x{number}x")
                load.await_stories(1, *GUARDED)
                history, _ = load.end()
            found |= set(verdict_of(pair, history, f"x{number}x").broken)
            if MUTANTS[guard].finds in found:
                return
    pytest.fail(f"nothing is found but {sorted(found)}")
