"""Fixtures of the tests of DeliveryService: their database from behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pymongo
import pytest

from tests.harness.databases import MongoDatabase


@pytest.fixture
def raw(mongodb_module_database: MongoDatabase) -> Iterator[Any]:
    """The module's database, past the server."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_module_database.url) as client:
        yield client.get_default_database()


@pytest.fixture
def raw_of_own(mongodb_database: MongoDatabase) -> Iterator[Any]:
    """The test's own database, past the server."""
    with pymongo.MongoClient[dict[str, Any]](mongodb_database.url) as client:
        yield client.get_default_database()
