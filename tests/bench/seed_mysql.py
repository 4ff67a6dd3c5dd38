"""Fills the users service's tables, in statements of many rows on several connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import argon2
import asyncmy

from tests.bench import plan as planned
from tests.bench.plan import Plan
from users_service.sessions import tokens

ROWS_PER_STATEMENT = 2_000
CONNECTIONS = 3
# Keys and rows are ours and whole; checking them row by row doubles the time.
FAST = "SET unique_checks = 0, foreign_key_checks = 0, time_zone = '+00:00'"


async def seed(server: Mapping[str, str], plan: Plan) -> None:
    """Insert all rows of the plan into the migrated, empty database that ``server`` (MYSQL_*) names."""
    statements: asyncio.Queue[str] = asyncio.Queue(maxsize=4 * CONNECTIONS)
    async with asyncio.TaskGroup() as group:
        for _ in range(CONNECTIONS):
            group.create_task(_execute(server, statements))
        # In order: tables that others refer to come first, though nothing checks it.
        for statement in _statements(plan):
            await statements.put(statement)
        for _ in range(CONNECTIONS):
            await statements.put("")


async def connect(server: Mapping[str, str]) -> Any:
    """Open a connection of the driver's own, that commits each statement."""
    return await asyncmy.connect(
        host=server["MYSQL_HOST"],
        port=int(server["MYSQL_PORT"]),
        user=server["MYSQL_USER"],
        password=server["MYSQL_PASSWORD"],
        db=server["MYSQL_DATABASE"],
        autocommit=True,
    )


async def _execute(server: Mapping[str, str], statements: asyncio.Queue[str]) -> None:
    connection = await connect(server)
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(FAST)
            while statement := await statements.get():
                await cursor.execute(statement)
    finally:
        await connection.ensure_closed()


def _statements(plan: Plan) -> Iterator[str]:
    user_columns = "id, email, email_normalized, email_verified, name, image, created_at, updated_at"
    yield from _inserts("users", user_columns, _users(plan))
    session_columns = (
        "id, user_id, token_hash, expires_at, absolute_expires_at, extended_at, last_seen_at, ip_address, user_agent,"
        " created_at"
    )
    yield from _inserts("sessions", session_columns, _sessions(plan))
    yield from _inserts("accounts", "id, user_id, account_id, provider, password", _accounts(plan))


def _inserts(table: str, columns: str, rows: Iterator[str]) -> Iterator[str]:
    while some := list(islice(rows, ROWS_PER_STATEMENT)):
        yield f"INSERT INTO {table} ({columns}) VALUES {', '.join(some)}"


def _users(plan: Plan) -> Iterator[str]:
    for number in range(plan.users):
        made = _text(plan.made_at - timedelta(days=60) + timedelta(seconds=number))
        address = _text(planned.email(number))
        image = _text(f"https://images.example.com/{number}.png")
        name = _text(f"User Number {number}")
        yield (
            f"({_text(planned.user_id(number))}, {address}, {address}, {number % 2}, {name}, {image}, {made}, {made})"
        )


def _sessions(plan: Plan) -> Iterator[str]:
    # Not the lifetimes that the service gives, so that a kept dataset stays good.
    end = _text(plan.made_at + timedelta(days=365))
    agent = _text("Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0")
    made = _text(plan.made_at - timedelta(hours=1))
    for number in range(plan.sessions):
        owner = _text(planned.user_id(number % plan.users))
        token_hash = f"x'{tokens.digest(planned.token(number)).hex()}'"
        address = _text(f"192.0.2.{number % 250}")
        times = f"{end}, {end}, {made}, {made}"
        yield f"({_text(planned.session_id(number))}, {owner}, {token_hash}, {times}, {address}, {agent}, {made})"


def _accounts(plan: Plan) -> Iterator[str]:
    # One hash for all: verifying it costs the same, making 512 of them does not.
    password = _text(argon2.PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(planned.PASSWORD))
    for number in range(planned.SIGN_IN_USERS):
        owner = _text(planned.user_id(number))
        yield f"({_text(f'acct_01k{number:023d}')}, {owner}, {owner}, 'credential', {password})"


def _text(value: str | datetime) -> str:
    return f"'{value:%Y-%m-%d %H:%M:%S.%f}'" if isinstance(value, datetime) else f"'{value}'"
