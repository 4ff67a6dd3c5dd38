"""The SQL of docs/operations.md runs on the schema as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.databases import MySQLDatabase
from tests.harness.statements import connected

RUNBOOK = Path(__file__).resolve().parents[3] / "docs" / "operations.md"
BLOCKS = [" ".join(block.split()) for block in re.findall(r"```sql\n(.*?)```", RUNBOOK.read_text(), re.DOTALL)]
# Rights are given once, to accounts that are not here.
STATEMENTS = [block for block in BLOCKS if not block.startswith("GRANT ")]


@pytest.mark.parametrize("statement", STATEMENTS)
async def test_statement_of_the_runbook_runs(mysql_module_database: MySQLDatabase, statement: str) -> None:
    """Whoever pastes it at night gets an answer, and changes nothing by it."""
    assert statement.startswith(("SELECT ", "SHOW "))
    # Of others' statements it shows what they hold, which need not be text.
    bytes_for_text = connected(mysql_module_database, autocommit=True, use_unicode=False)
    async with bytes_for_text as connection, connection.cursor() as cursor:
        await cursor.execute(statement)
        await cursor.fetchall()
