"""deploy/vitess has the tables that the migrations make, and vschemas that name all of them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from tests.harness.vitess.keyspaces import DEPLOYED
from users_service.mysql import revisions
from users_service.mysql.server_kind import UNIQUE
from users_service.tables import metadata

SCHEMA: Final = (DEPLOYED / "schema.sql").read_text()
# By table, the names of its columns.
CREATED: Final = {
    name: set(re.findall(r"^  ([a-z_]+) [a-z]", body, re.MULTILINE))
    for name, body in re.findall(r"^CREATE TABLE (\w+) \((.*?)^\)", SCHEMA, re.MULTILINE | re.DOTALL)
}
VSCHEMA: Final[dict[str, Any]] = json.loads((DEPLOYED / "vschema.json").read_text())
EVENTS: Final[dict[str, Any]] = json.loads((DEPLOYED / "vschema-events.json").read_text())
LOOKUPS: Final = {
    vindex["params"]["table"].partition(".")[2]: vindex
    for vindex in VSCHEMA["vindexes"].values()
    if "lookup" in vindex["type"]
}


def test_it_has_the_columns_of_the_newest_revision() -> None:
    """A migration that changes a table has to change it here, too."""
    declared = {table.name: {column.name for column in table.columns} for table in metadata.tables.values()}
    assert {name: CREATED[name] for name in declared} == declared
    assert CREATED.keys() - declared.keys() == LOOKUPS.keys() | {"alembic_version"}
    assert f"INSERT INTO alembic_version (version_num) VALUES ('{revisions.numbers()[-1]}');" in SCHEMA


def test_every_table_has_a_place() -> None:
    """A table that no vschema names could not be used."""
    assert VSCHEMA["tables"].keys() | EVENTS["tables"].keys() == CREATED.keys()


def test_each_lookup_has_the_columns_that_it_leads_by() -> None:
    """And the service's own look at the server finds those that it demands."""
    led = {name: vindex["params"]["from"].split(",") for name, vindex in LOOKUPS.items()}
    assert {name: {*columns, "keyspace_id"} for name, columns in led.items()} == {name: CREATED[name] for name in led}
    kept = {(vindex["owner"], frozenset(led[name])) for name, vindex in LOOKUPS.items()}
    assert set(UNIQUE.items()) <= kept
