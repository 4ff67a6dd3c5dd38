"""The seed commands, run in this process: a process of its own takes a second to start."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from click.testing import CliRunner, Result

from notifications_service.cli import main as notifications_main
from tests.harness.users import SECRET_KEYS
from users_service.cli import main as users_main

Seed = Callable[..., Result]


def _command(main: object) -> Seed:
    def seed(settings: Mapping[str, str], *arguments: str) -> Result:
        variables = {**settings, "SECRET_KEYS": SECRET_KEYS}
        return CliRunner().invoke(main, ["seed", *arguments], env=variables)  # type: ignore[arg-type]

    return seed


@pytest.fixture(scope="session")
def seed_users() -> Seed:
    """``users-service seed``: call it with the settings of the database and the arguments."""
    return _command(users_main)


@pytest.fixture(scope="session")
def seed_notifications() -> Seed:
    """``notifications-service seed``, likewise."""
    return _command(notifications_main)
