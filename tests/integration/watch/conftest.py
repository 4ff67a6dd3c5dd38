"""Fixtures of the watch's tests: stored rows past the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from tests.harness.databases import MongoDatabase


@pytest.fixture
async def rows(mongodb_module_database: MongoDatabase) -> AsyncIterator[Any]:
    """The collection itself, to write to as another system would."""
    async with AsyncMongoClient[Any](mongodb_module_database.url) as client:
        yield client.get_default_database().notifications
