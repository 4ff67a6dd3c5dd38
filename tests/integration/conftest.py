"""Fixtures of the notifications service's tests: the server under both drivers, and a user for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator

import pytest

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
    """The production server under the default driver, for what the driver has no part in."""
    async with running_notifications(mongodb_module_database) as running:
        yield running


@pytest.fixture
def user_id() -> str:
    """A user whom no other test has."""
    return f"user_{os.getpid()}_{next(_numbers):06d}"
