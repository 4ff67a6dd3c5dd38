"""What benches of the users service share: services to measure, sessions to ask for, and callers in a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import Final

from vibework.client import Users
from vibework.testing.local.ports import free_port
from vibework.users.v1 import session_service_pb2 as pb

from tests.harness.databases import MySQLDatabase
from tests.harness.pair import Side

SESSIONS: Final = 64


def started(running: ExitStack, mysql: MySQLDatabase, package: str = "users_service", **settings: str) -> Side:
    """Run a service on a database, without the other one and without metrics, until the stack ends."""
    usual = {"METRICS_PORT": "0", "NOTIFICATIONS_ADDRESS": "off"}
    side = Side(package, free_port(), {**mysql.environment(), **usual, **settings})
    running.callback(side.stop)
    side.start()
    return side


def validations(address: str) -> list[bytes]:
    """Sign somebody up with ``SESSIONS`` sessions; return what asks for each."""
    with Users.connect(address) as users:
        user = users.create_user(email="bench@example.com").user
        made = [users.create_session(user_id=user.id) for _ in range(SESSIONS)]
    return [pb.ValidateSessionRequest(session_token=each.session_token).SerializeToString() for each in made]


async def crowd(call: Callable[[int, int], Awaitable[object]], callers: int, calls: int) -> int:
    """Let so many callers make so many calls, all together; return how many were made.

    ``call`` is told which caller it is of, and its turn.
    """
    each = calls // callers

    async def make(caller: int) -> None:
        for turn in range(each):
            await call(caller, turn)

    await asyncio.gather(*(make(caller) for caller in range(callers)))
    return each * callers
