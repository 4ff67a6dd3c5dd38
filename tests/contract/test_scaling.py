"""docs/scaling.md goes through every statement: one that is new must be thought through, too."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest

from notifications_service.feed.repository import FeedRepository
from users_service.accounts import legacy
from users_service.accounts import repository as accounts
from users_service.attempts import repository as attempts
from users_service.outbox import repository as outbox
from users_service.purge import RULES
from users_service.sessions import repository as sessions
from users_service.tables import metadata
from users_service.users import repository as users
from users_service.verifications import repository as verifications

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
NAMES = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`\n]+)`", DOCUMENT))))
REPOSITORIES = (users, sessions, accounts, legacy, verifications, outbox, attempts)


def _statements(module: ModuleType) -> set[str]:
    functions = inspect.getmembers(module, inspect.iscoroutinefunction)
    return {name for name, function in functions if not name.startswith("_") and function.__module__ == module.__name__}


@pytest.mark.parametrize("module", REPOSITORIES, ids=lambda module: module.__name__)
def test_every_statement_on_mysql_has_its_routing(module: ModuleType) -> None:
    """Each function of a repository that asks the database is named."""
    assert _statements(module)
    assert _statements(module) - NAMES == set()


def test_every_query_of_the_feed_has_its_routing() -> None:
    """Each method that asks MongoDB is named."""
    methods = inspect.getmembers(FeedRepository, inspect.iscoroutinefunction)
    assert {name for name, _ in methods if not name.startswith("_")} - NAMES == set()


def test_every_table_has_its_size_or_is_small() -> None:
    """What grows with the users is in the arithmetic; the outbox is empty but for the last minutes."""
    assert {table for table in metadata.tables if table != "outbox"} - NAMES == set()
    assert {rule.table for rule in RULES} <= NAMES
