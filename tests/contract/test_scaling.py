"""docs/scaling.md goes through every statement: one that is new must be thought through, too."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest

from tests.harness.statement_names import public_coroutines, repositories
from users_service.purge.service import RULES
from users_service.tables import metadata

DOCUMENT = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
NAMES = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"`([^`\n]+)`", DOCUMENT))))
REPOSITORIES = [*repositories("users_service"), *repositories("notifications_service")]


@pytest.mark.parametrize("module", REPOSITORIES, ids=lambda module: module.__name__)
def test_every_statement_has_its_routing(module: ModuleType) -> None:
    """Each function of a repository that asks its database is named."""
    statements = {function.__name__ for function in public_coroutines(module) if hasattr(function, "statement_name")}
    assert statements
    assert statements - NAMES == set()


def test_every_table_has_its_size_or_is_small() -> None:
    """What grows with the users is in the arithmetic; the outbox is empty but for the last minutes."""
    assert {table for table in metadata.tables if table != "outbox"} - NAMES == set()
    assert {rule.table for rule in RULES} <= NAMES
