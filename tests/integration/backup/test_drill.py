"""A backup taken while both services are written to: all that was acknowledged before, and nothing half."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from operator import gt
from pathlib import Path
from typing import Any

import pytest

from chassis.backup.command import BackupOptions, RestoreOptions
from chassis.backup.reading import Archive
from chassis.clock import utc_now
from notifications_service.backup.backup import backup as back_up_notifications
from notifications_service.backup.restore import restore as restore_notifications
from script.drill import verdict, writers
from script.drill.ledger import Kind, Ledger
from script.drill.writers import write_until
from tests.harness import notifications as notifications_harness
from tests.harness import users as users_harness
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, until
from users_service.backup.backup import backup as back_up_users
from users_service.backup.restore import restore as restore_users

OPTIONS = RestoreOptions(verify=True, start_over=False)


@pytest.fixture(autouse=True)
def patient_writers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each write time enough on any machine."""
    monkeypatch.setattr(writers, "_TIMEOUT", PATIENCE_SECONDS)


@pytest.mark.long
async def test_a_backup_under_load_holds_what_it_must(
    mysql_database: MySQLDatabase,
    mysql_empty_database: MySQLDatabase,
    mongodb_database: MongoDatabase,
    mongodb_empty_database: MongoDatabase,
    tmp_path: Path,
) -> None:
    """Every write acknowledged before the snapshot is restored, and no transaction in part, on both databases."""
    ledger = Ledger()
    users, notifications = tmp_path / "users.backup", tmp_path / "notifications.backup"
    await _write_and_back_up(ledger, mysql_database, mongodb_database, users, notifications)
    await restore_users(users_harness.settings_for(mysql_empty_database), Archive(users), OPTIONS)
    await restore_notifications(
        notifications_harness.settings_for(mongodb_empty_database), Archive(notifications), OPTIONS
    )
    users_at, notifications_at = Archive(users).manifest.taken_at, Archive(notifications).manifest.taken_at
    verdicts = [
        *await verdict.judge_users(ledger, users_at, mysql_empty_database.environment()),
        *verdict.judge_notifications(ledger, notifications_at, mongodb_empty_database.url),
        verdict.went_on(ledger, max(users_at, notifications_at)),
    ]
    assert all(each.holds for each in verdicts), verdict.table(verdicts)
    assert ledger.failed == 0


async def _write_and_back_up(
    ledger: Ledger, mysql: MySQLDatabase, mongodb: MongoDatabase, users: Path, notifications: Path
) -> None:
    stop = asyncio.Event()
    with users_harness.users_service(mysql) as users_server:
        async with notifications_harness.serving(mongodb) as notifications_server:
            writing = asyncio.create_task(write_until(stop, users_server.address, notifications_server.address, ledger))
            await until(lambda: all(of_each_kind(ledger)), "writes of each kind")
            settings = notifications_harness.settings_for(mongodb)
            await asyncio.gather(
                _in_a_thread(back_up_users(users_server.settings, users, utc_now, BackupOptions())),
                _in_a_thread(back_up_notifications(settings, notifications, utc_now, BackupOptions())),
            )
            written = of_each_kind(ledger)
            await until(lambda: all(map(gt, of_each_kind(ledger), written)), "writes after the backup")
            stop.set()
            await writing


def of_each_kind(ledger: Ledger) -> list[int]:
    """Return how many writes of each kind were acknowledged."""
    counted = Counter(write.kind for write in ledger.writes)
    return [counted[kind] for kind in Kind]


async def _in_a_thread(work: Coroutine[Any, Any, object]) -> None:
    # Beside the writers, as the command is, which has a process of its own.
    await asyncio.to_thread(asyncio.run, work)


def test_a_lost_write_is_seen() -> None:
    """The drill can fail: it tells what is missing, what is half, and that nothing proves nothing."""
    assert verdict.Verdict("x", over=3, broken=1).holds is False
    assert verdict.Verdict("x", over=0, broken=0).holds is False
    assert "BROKEN" in verdict.table([verdict.Verdict("x", over=3, broken=1)])
