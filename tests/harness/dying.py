"""A worker of email in a process of its own that is killed, as by the kernel, at a given moment of its work."""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bson import Binary
from pymongo import MongoClient, monitoring

from notifications_service.delivery import digesting
from notifications_service.delivery.channels.channel import Mail, Outcome
from notifications_service.mongodb.database import Database
from notifications_service.outbox import digests, following
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import Delivering, FarEnd
from tests.harness.notifications import settings_for
from tests.harness.patience import PATIENCE_SECONDS

_OF_DRIVER: Final = frozenset({"hello", "ping", "endSessions", "killCursors"})
# Processes are copies of one that has all of this imported already.
_processes: Final = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__])


@dataclass
class Left:
    """What a dead process has left: the ids of deliveries that it sent, and its sessions on the server."""

    died: bool
    mails: list[tuple[str, str]] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)


def deliver_and_die(database: MongoDatabase, now: datetime, events: int, notes: Path, *, part: int) -> Left:
    """Deliver what is due at ``now``, and be killed at the given event: the start, or the answer, of a command.

    ``part``: items of a digest that one transaction takes. What a transaction holds that is cut off is given free at
    once, as MongoDB does after a minute.
    """
    notes.write_text("")
    process = _processes.Process(target=_deliver, args=(database, now, events, notes, part))
    process.start()
    process.join(PATIENCE_SECONDS)
    assert process.exitcode in (0, -signal.SIGKILL)
    left = Left(died=process.exitcode != 0)
    for line in notes.read_text().splitlines():
        kind, *told = json.loads(line)
        if kind == "mail":
            left.mails.append((told[0], told[1]))
        else:
            left.sessions += told
    _end_sessions(database, left.sessions)
    return left


def _end_sessions(database: MongoDatabase, sessions: Sequence[str]) -> None:
    if not sessions:
        return  # of an empty list the server would end everybody's
    with MongoClient[dict[str, Any]](database.url) as client:
        ended = [{"id": Binary(bytes.fromhex(each), 4)} for each in dict.fromkeys(sessions)]
        client.admin.command("killSessions", ended)


class _Killer(monitoring.CommandListener):
    def __init__(self, events: int, notes: Path) -> None:
        self._left = events
        self._notes = notes

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Note the session, and count."""
        if "lsid" in event.command:
            _note(self._notes, "session", bytes(event.command["lsid"]["id"]).hex())
        self._count(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Count."""
        self._count(event.command_name)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Count."""
        self._count(event.command_name)

    def _count(self, name: str) -> None:
        if name in _OF_DRIVER:
            return
        self._left -= 1
        if self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


class _NotingEnd(FarEnd):
    def __init__(self, notes: Path) -> None:
        super().__init__()
        self._notes = notes

    async def send(self, mail: Mail, seconds: float) -> Outcome:
        """Take a mail, and note it where the process's end leaves it."""
        _note(self._notes, "mail", mail.delivery_id, mail.subject)
        return await super().send(mail, seconds)


def _note(notes: Path, *told: str) -> None:
    with notes.open("a") as file:
        file.write(f"{json.dumps(told)}\n")


def _deliver(database: MongoDatabase, now: datetime, events: int, notes: Path, part: int) -> None:
    digests.BATCH = following.BATCH = digesting.PAGE = part  # type: ignore[misc]
    monitoring.register(_Killer(events, notes))
    asyncio.run(_drain(database, now, notes))


async def _drain(database: MongoDatabase, now: datetime, notes: Path) -> None:
    delivering = Delivering(Database(settings_for(database)))
    delivering.clock.now = now
    await delivering.worker(_NotingEnd(notes)).drain()
    await delivering.database.close()
