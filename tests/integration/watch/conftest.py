"""Fixtures of the watch tests: a server on a database of the module's, and stored rows past the server."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, running_notifications

_numbers = itertools.count(1)


@pytest.fixture(params=["pymongo", "motor"])
async def notifications(
    request: pytest.FixtureRequest, mongodb_module_database: MongoDatabase
) -> AsyncIterator[Notifications]:
    """The production server under each driver."""
    async with running_notifications(mongodb_module_database, mongodb_driver=request.param) as running:
        yield running


@pytest.fixture
async def pymongo_notifications(mongodb_module_database: MongoDatabase) -> AsyncIterator[Notifications]:
    """The production server under the default driver, for what no driver can change."""
    async with running_notifications(mongodb_module_database) as running:
        yield running


@pytest.fixture
async def rows(mongodb_module_database: MongoDatabase) -> AsyncIterator[Any]:
    """The collection itself, to write to as another system would."""
    async with AsyncMongoClient[Any](mongodb_module_database.url) as client:
        yield client.get_default_database().notifications


@pytest.fixture
def user_id() -> str:
    """A user whom no other test of the module has."""
    return f"user_{next(_numbers):06d}"
