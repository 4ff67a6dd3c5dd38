"""Workers that are killed, or stopped for longer than their lease: every mail is sent, and few twice."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from tests.harness.databases import MongoDatabase
from tests.harness.fleet import WORKERS, survive
from tests.harness.notifications import SECRET_KEYS

MAILS = 1_500
LEASE = timedelta(seconds=3)
# Connections of each to the relay: what one may have in hand when it goes.
CONNECTIONS = 4


@pytest.mark.long
async def test_no_mail_is_lost_and_twice_come_only_those_whose_outcome_was_unknown(
    mongodb_database: MongoDatabase, tmp_path: Path
) -> None:
    """One of four workers is killed by SIGKILL, one stopped: each mail is accepted, and doubles are explained."""
    found = await asyncio.to_thread(survive, mongodb_database.url, MAILS, LEASE, tmp_path, SECRET_KEYS)
    assert (found.deliveries, found.lost) == (MAILS, 0)
    assert found.doubled == found.explained
    assert found.taken_over > 0
    # What a worker had sent and not recorded, and what the stopped one sent when it went on.
    assert found.doubled <= WORKERS * 100
