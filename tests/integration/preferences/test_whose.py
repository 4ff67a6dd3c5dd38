"""Whose preferences: only a user's that there is, as the users service says; reading asks nobody."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from vibework.users.v1 import user_service_pb2

from tests.contract.requests import NOBODY
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import running_notifications
from tests.harness.patience import PATIENCE_MS
from tests.harness.users import Stubs, UsersServer, reason, violations
from tests.integration.preferences.building import EMAIL, OFF, get, setting, update

# An address at which nobody listens.
NOBODY_THERE = "127.0.0.1:1"


async def test_preferences_are_set_for_users_that_exist(
    mongodb_module_database: MongoDatabase, users_server: UsersServer, users: Stubs, user_id: str
) -> None:
    """Of the real users service: one that it has created, and one that it does not know."""
    request = user_service_pb2.CreateUserRequest(email=f"{user_id}@example.com")
    known = (await users.users.CreateUser(request)).user.id
    settings: dict[str, Any] = {
        "recipient_check": "required",
        "users_address": users_server.address,
        "recipient_check_timeout_ms": PATIENCE_MS,
    }
    async with running_notifications(mongodb_module_database, **settings) as running:
        stub = running.preferences
        await stub.SetPreference(setting(known, EMAIL, "news", OFF))
        await stub.UpdatePreferences(update(known, "locale", locale="de"))
        calls: dict[str, Any] = {
            "user_id": stub.SetPreference(setting(NOBODY, EMAIL, "news", OFF)),
            "preferences.user_id": stub.UpdatePreferences(update(NOBODY, "locale", locale="de")),
        }
        for field, call in calls.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert (reason(caught.value), violations(caught.value)) == ("RECIPIENT_NOT_FOUND", [field])
        assert (await get(stub, NOBODY)).entries == []


async def test_while_the_users_service_is_away_they_can_be_read(
    mongodb_module_database: MongoDatabase, user_id: str
) -> None:
    """Changes are UNAVAILABLE, since nobody can say whether the user exists."""
    settings: dict[str, Any] = {"recipient_check": "required", "users_address": NOBODY_THERE}
    async with running_notifications(mongodb_module_database, **settings) as running:
        stub = running.preferences
        calls: tuple[Any, ...] = (
            stub.SetPreference(setting(user_id, EMAIL, "news", OFF)),
            stub.UpdatePreferences(update(user_id, "locale", locale="de")),
        )
        for call in calls:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert reason(caught.value) == "USERS_SERVICE_UNAVAILABLE"
        assert (await get(stub, user_id)).user_id == user_id
