"""The condition that names the users of rows, as commands carry it beside others."""

from __future__ import annotations

from typing import Any

import pytest

from notifications_service.mongodb.sharding import of_rows


@pytest.mark.parametrize(
    ("users", "condition"),
    [
        (["ann"], {"userId": "ann"}),
        (["bob", "ann", "bob"], {"userId": {"$in": ["ann", "bob"]}}),
        (["ann", None], {}),
        (["ann", ["bob"]], {}),
        ([], {}),
    ],
)
def test_rows_of_no_user_are_not_left_out(users: list[Any], condition: dict[str, Any]) -> None:
    """A row that others have stored without a user's id is found by its own id, among no users' in particular."""
    assert of_rows([{"userId": user} for user in users]) == condition
