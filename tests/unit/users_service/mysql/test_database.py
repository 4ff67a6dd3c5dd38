"""Calls for which no connection to MySQL comes free."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest
from pydantic import SecretStr
from vibework.testing.local.ports import LOOPBACK

from chassis.errors import DatabaseUnavailable
from users_service.mysql.database import Database
from users_service.mysql.settings import MySQLSettings

# More than there are connections of any kind.
CALLS: Final = 5

Ask = Callable[[Database], Awaitable[Any]]


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that lets clients connect, and never says a word."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        yield listener.getsockname()[1]


async def nothing(_connection: object) -> None:
    """Ask for nothing."""


async def all_told(database: Database, ask: Ask) -> list[BaseException]:
    """Make the calls at once; return what those were told first who waited in vain for the others."""
    calls = [asyncio.ensure_future(ask(database)) for _ in range(CALLS)]
    ended, waiting = await asyncio.wait(calls, return_when=asyncio.FIRST_EXCEPTION)
    for call in waiting:
        call.cancel()
    await asyncio.wait(waiting)
    return [error for call in ended if (error := call.exception()) is not None]


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda database: database.transaction(nothing), id="transaction"),
        pytest.param(lambda database: database.query(nothing), id="query"),
        pytest.param(lambda database: database.read("SELECT 1", ()), id="point read"),
    ],
)
async def test_a_pool_full_of_those_who_wait_for_the_server_is_no_overload(silent: int, ask: Ask) -> None:
    """A server that says nothing is told as an unavailable database, and not as a limit of ours."""
    settings = MySQLSettings(
        mysql_host=LOOPBACK,
        mysql_port=silent,
        mysql_user="u",
        mysql_password=SecretStr("p"),
        mysql_database="d",
        mysql_pool_max_connections=4,
        mysql_pool_acquire_timeout_ms=50,
        mysql_query_timeout_ms=60_000,
        mysql_connect_timeout_ms=60_000,
    )
    async with Database(settings) as database:
        told = await all_told(database, ask)
    assert {type(error) for error in told} == {DatabaseUnavailable}
