"""Servers with which the service would not be safe end its start in one line, made up here by their answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
from pydantic import SecretStr
from vibework.testing.local.ports import LOOPBACK

from chassis.serving.lifecycle import Scope
from chassis.settings import WrongSetting
from chassis.telemetry.start import Telemetry
from tests.harness.fake_mysql import FakeMySQL, answering, fake_mysql
from tests.harness.patience import PATIENCE_SECONDS
from users_service.mysql import assembly
from users_service.mysql.database import Database
from users_service.mysql.server_kind import TIDB, ServerRefused
from users_service.settings import DatabaseSettings

COMMENT: Final = "Version: 24.0.4 (Git revision  branch '') built on  by @ using go1.26.8 linux/amd64"
LOOKUPS: Final = {
    "users": "from=email_normalized",
    "sessions": "from=token_hash",
    "accounts": "from=account_id,provider",
}
SHARDED: Final = [("vibework/-80",), ("vibework/80-",), ("other/0",)]


def vindexes(lookups: dict[str, str], kind: str) -> list[tuple[str, ...]]:
    """Return what vtgate says of a keyspace's vindexes."""
    parameters = "batch_lookup=true; {}; table=vibework.lookup; to=keyspace_id"
    rows = [("vibework", f"of_{table}", kind, parameters.format(given), table) for table, given in lookups.items()]
    return [("vibework", "hash", "xxhash", "", ""), *rows]


def vitess(
    shards: list[tuple[str]],
    lookups: dict[str, str],
    version: str = "8.4.6-Vitess",
    kind: str = "consistent_lookup_unique",
    isolation: str = "READ-COMMITTED",
) -> dict[str, Any]:
    """Return the answers of a vtgate."""
    return {
        "@@version, @@version_comment": [(version, COMMENT)],
        "@@global.transaction_isolation": [(isolation,)],
        "SHOW VITESS_SHARDS": shards,
        "SHOW VSCHEMA VINDEXES": vindexes(lookups, kind),
        "SELECT DATABASE()": [("vibework",)],
    }


def settings_for(port: int) -> DatabaseSettings:
    """Return the settings that lead to a server here."""
    return DatabaseSettings(
        mysql_host=LOOPBACK,
        mysql_port=port,
        mysql_user="u",
        mysql_password=SecretStr("p"),
        mysql_database="vibework",
    )


async def meet(server: FakeMySQL) -> None:
    """Look at the server as a start does."""
    async with Database(settings_for(server.port)) as database:
        await database.meet()


def without(table: str) -> dict[str, str]:
    """Return the lookups but that of a table."""
    return {name: given for name, given in LOOKUPS.items() if name != table}


@pytest.mark.parametrize(
    ("version", "known", "told"),
    [
        ("8.0.11-TiDB-v8.5.6", {"@@version, @@version_comment": [("8.0.11-TiDB-v8.5.6", "TiDB Server")]}, TIDB),
        ("8.4.6-Vitess", vitess(SHARDED, without("users")), "keeps users unique"),
        ("8.4.6-Vitess", vitess(SHARDED, without("accounts")), "keeps accounts unique"),
        # A lookup of one half of what has to be unique, and one that keeps nothing unique.
        ("8.4.6-Vitess", vitess(SHARDED, {**LOOKUPS, "accounts": "from=account_id"}), "keeps accounts unique"),
        ("8.4.6-Vitess", vitess(SHARDED, LOOKUPS, kind="consistent_lookup"), "keeps users, sessions unique"),
        ("8.4.6-Vitess", vitess(SHARDED, LOOKUPS, isolation="REPEATABLE-READ"), "set transaction_isolation there"),
        # vtgate was told which version to give.
        ("8.4.6", vitess(SHARDED, {}, "8.4.6"), "keeps users, sessions, accounts unique"),
    ],
    ids=["TiDB", "no address", "no account", "half an account", "not unique", "snapshots", "hidden"],
)
def test_what_is_unsafe_is_refused(version: str, known: dict[str, Any], told: str) -> None:
    """The line says what is wrong, and what to do."""
    with fake_mysql(version, answering(known)) as server, pytest.raises(ServerRefused) as refused:
        asyncio.run(meet(server))
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "known",
    [
        vitess(SHARDED, LOOKUPS),
        vitess([("vibework/0",), ("other/-80",), ("other/80-",)], {}),
        {"@@version, @@version_comment": [("9.7.4", "MySQL Community Server")]},
        {"@@version, @@version_comment": [("10.11.6-MariaDB", "Debian 12")]},
    ],
    ids=["with lookups", "one shard", "MySQL", "MariaDB"],
)
def test_what_is_safe_is_taken(known: dict[str, Any]) -> None:
    """Vitess with its lookups, one that is not sharded, and both servers."""
    with fake_mysql(str(known["@@version, @@version_comment"][0][0]), answering(known)) as server:
        asyncio.run(meet(server))


async def test_the_start_is_refused_by_the_name_of_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever starts the service reads which setting leads to such a server, and it serves nobody."""
    monkeypatch.setattr(assembly, "_FIRST_LOOK_SECONDS", PATIENCE_SECONDS)
    tidb = {"@@version, @@version_comment": [("8.0.11-TiDB-v8.5.6", "TiDB Server")]}
    with fake_mysql("8.0.11-TiDB-v8.5.6", answering(tidb)) as server, pytest.raises(WrongSetting) as wrong:
        await begin(settings_for(server.port))
    assert str(wrong.value) == f"MYSQL_HOST: {TIDB}"


async def test_a_server_that_speaks_no_mysql_does_not_stop_the_start() -> None:
    """Health tells what keeps the database away, whatever that is, and the next server at that address is served."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, LOOPBACK, 0) as server:
        await begin(settings_for(server.sockets[0].getsockname()[1]))


async def begin(settings: DatabaseSettings) -> None:
    """Open the database as a start does, and close it."""
    async with AsyncExitStack() as resources:
        await assembly.open_database(settings, Scope(resources, asyncio.Event()), Telemetry())
