"""Fills each table with rows of usual length, in the order of their making, and asks InnoDB what they take."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from chassis.contract.ids import new_id
from tests.bench.seed_mysql import connect

ROWS_PER_STATEMENT = 1_000
AGENT = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36"
)
# As long as an Argon2id hash in its usual form.
HASH = "$argon2id$v=19$m=19456,t=2,p=1$" + "x" * 66
# Pages that InnoDB holds for each index; `analyze` brings the figures up to date.
PAGES = """
SELECT index_name, stat_value * @@innodb_page_size FROM mysql.innodb_index_stats
WHERE database_name = DATABASE() AND table_name = %s AND stat_name = 'size'
"""

Row = Sequence[Any]


async def create_database(server: Mapping[str, str]) -> None:
    """Make the empty database that the settings name."""
    connection = await connect({**server, "MYSQL_DATABASE": ""})
    async with connection.cursor() as cursor:
        await cursor.execute(f"CREATE DATABASE {server['MYSQL_DATABASE']} CHARACTER SET utf8mb4")
    await connection.ensure_closed()


async def measure(server: Mapping[str, str], rows: int) -> list[tuple[str, int, float]]:
    """Fill the tables and return (what, rows, bytes for each) of every table and index."""
    connection = await connect(server)
    sizes: list[tuple[str, int, float]] = []
    async with connection.cursor() as cursor:
        for table, columns, values in _tables(rows, random.Random(1)):
            count = await _fill(cursor, table, columns, values)
            sizes += [(f"{table}.{index}", count, size / count) for index, size in await _pages(cursor, table)]
    await connection.ensure_closed()
    return sizes


async def _fill(cursor: Any, table: str, columns: str, values: Iterator[Row]) -> int:
    marks = ", ".join(["%s"] * len(columns.split(",")))
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
    count = 0
    while some := list(islice(values, ROWS_PER_STATEMENT)):
        await cursor.executemany(statement, some)
        count += len(some)
    return count


async def _pages(cursor: Any, table: str) -> list[tuple[str, int]]:
    await cursor.execute(f"ANALYZE TABLE {table}")
    await cursor.fetchall()
    # The server writes its statistics a moment later.
    await asyncio.sleep(0.5)
    await cursor.execute(PAGES, (table,))
    return [(index, int(size)) for index, size in await cursor.fetchall()]


def _tables(rows: int, chance: random.Random) -> Iterator[tuple[str, str, Iterator[Row]]]:
    users = [(new_id("user"), _email(chance)) for _ in range(rows)]
    sessions = [new_id("sess") for _ in range(rows)]
    yield "users", "id, email, email_normalized, name, image", _users(users)
    yield (
        "sessions",
        "id, user_id, token_hash, ip_address, user_agent",
        ((id_, chance.choice(users)[0], chance.randbytes(32), _address(chance), AGENT) for id_ in sessions),
    )
    yield (
        "rotated_session_tokens",
        "token_hash, session_id",
        ((chance.randbytes(32), chance.choice(sessions)) for _ in range(rows)),
    )
    yield "accounts", ACCOUNT_COLUMNS, _accounts(users, chance)
    yield (
        "verifications",
        "id, identifier, value, purpose, kind",
        ((new_id("vrf"), email, chance.randbytes(32).hex(), "email_verification", "token") for _, email in users),
    )
    yield (
        "idempotency_keys",
        "method, request_id, fingerprint, response",
        (("SignUp", str(uuid.uuid4()), chance.randbytes(32), chance.randbytes(400)) for _ in range(rows)),
    )
    yield (
        "attempt_counters",
        "scope, subject, attempts",
        (("sign_in_account", chance.randbytes(32), 1) for _ in range(rows)),
    )


ACCOUNT_COLUMNS = "id, user_id, account_id, provider, password, access_token, refresh_token, id_token, token_key_id"


def _accounts(users: Sequence[tuple[str, str]], chance: random.Random) -> Iterator[Row]:
    """Yield a password for each user, and for every fourth an account of a provider, with sealed tokens."""
    for number, (user_id, _) in enumerate(users):
        yield new_id("acct"), user_id, user_id, "credential", HASH, None, None, None, None
        if number % 4 == 0:
            tokens = (chance.randbytes(length // 2).hex() for length in (300, 200, 1_400))
            yield new_id("acct"), user_id, str(chance.getrandbits(69)), "google", None, *tokens, "key-2026"


def _users(users: Sequence[tuple[str, str]]) -> Iterator[Row]:
    for number, (id_, email) in enumerate(users):
        image = f"https://images.example.com/avatars/{id_}.png" if number % 2 else None
        yield id_, email, email, "Firstname Lastname", image


def _email(chance: random.Random) -> str:
    # Some 24 characters, in no order: their indexes fill as they do in life.
    name = "".join(chance.choices("abcdefghijklmnopqrstuvwxyz", k=12))
    return f"{name}{chance.randrange(100)}@example{chance.randrange(10)}.org"


def _address(chance: random.Random) -> str:
    return ".".join(str(chance.randrange(256)) for _ in range(4))
