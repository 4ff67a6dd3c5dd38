"""New databases on servers that a setting names: made for one run of tests, and dropped after it."""

from __future__ import annotations

import asyncio
import importlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from vibework.testing.local.problems import LocalProblem


def _name() -> str:
    return f"vibework_test_{secrets.token_hex(6)}"


@contextmanager
def new_in_mongodb(url: str) -> Iterator[dict[str, str]]:
    """Name a database that is not there yet; yield the settings that lead to it."""
    import pymongo

    name = _name()
    try:
        yield {"MONGODB_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
    finally:
        with pymongo.MongoClient[dict[str, Any]](url) as client:
            client.drop_database(name)


@contextmanager
def new_in_mysql(url: str) -> Iterator[dict[str, str]]:
    """Make an empty database; yield the settings that lead to it. Raises `LocalProblem`."""
    parts = urlsplit(url)
    if parts.scheme != "mysql" or not parts.hostname:
        raise LocalProblem("VIBEWORK_MYSQL_URL is not mysql://user:password@host:port")
    account = {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": unquote(parts.username or "root"),
        "password": unquote(parts.password or ""),
    }
    name = _name()
    _run(account, f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield {**{f"MYSQL_{key}".upper(): str(value) for key, value in account.items()}, "MYSQL_DATABASE": name}
    finally:
        _run(account, f"DROP DATABASE IF EXISTS `{name}`")


def _run(account: dict[str, Any], statement: str) -> None:
    # In a thread of its own: the one of the tests may have an event loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, _execute(account, statement)).result()


async def _execute(account: dict[str, Any], statement: str) -> None:
    # The services' driver, which comes with them and not with the plugin.
    try:
        driver, errors = importlib.import_module("asyncmy"), importlib.import_module("asyncmy.errors")
    except ImportError:
        raise LocalProblem(
            "VIBEWORK_MYSQL_URL needs the services in the environment of the tests: pip install "
            "'vibework-services[server]'"
        ) from None
    try:
        connection = await driver.connect(**account, autocommit=True)
    except (OSError, errors.MySQLError) as error:
        # What the driver says names the account.
        raise LocalProblem(f"the server of VIBEWORK_MYSQL_URL was not reached: {type(error).__name__}") from None
    try:
        async with connection.cursor() as cursor:
            await cursor.execute(statement)
    finally:
        await connection.ensure_closed()
