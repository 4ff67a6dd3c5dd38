"""Fixtures of delivery's tests: an outbox and a worker under both drivers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from notifications_service.mongodb.database import Database
from notifications_service.notification import schema
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import Delivering
from tests.harness.notifications import settings_for


@pytest.fixture(params=["pymongo", "motor"])
async def delivering(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase
) -> AsyncIterator[Delivering]:
    """An outbox without anything in it, under each driver."""
    database = Database(settings_for(mongodb_module_database, mongodb_driver=request.param))
    made = Delivering(database)
    for rows in (made.rows, made.notifications, *map(database.collection, (schema.PREFERENCES, schema.CATEGORIES))):
        await rows.delete_many({})
    yield made
    await database.close()
