"""Batches of users leave the event loop to other calls between their items."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from vibework.users.v1 import user_service_pb2 as pb

from chassis.slices import Slices
from tests.harness.users import Stubs

USERS = 12


async def test_each_user_of_a_batch_is_worked_on_in_slices(users: Stubs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows, and the answer; a request of many bytes is checked in a turn of its own."""
    ids = []
    for number in range(USERS):
        made = await users.users.CreateUser(pb.CreateUserRequest(email=f"sliced{number}@example.com"))
        ids.append(made.user.id)
    numbers: list[int] = []
    sliced = Slices.map

    async def counted(self: Slices, convert: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
        done = await sliced(self, convert, items)
        numbers.append(len(done))
        return done

    monkeypatch.setattr(Slices, "map", counted)
    found = await users.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=ids))
    assert [user.id for user in found.users] == ids
    assert numbers == [USERS, USERS]
    numbers.clear()
    missing = [f"user_{number:095}" for number in range(200)]
    assert len((await users.users.BatchGetUsers(pb.BatchGetUsersRequest(ids=missing))).missing_ids) == 200
    assert numbers[0] == 1
