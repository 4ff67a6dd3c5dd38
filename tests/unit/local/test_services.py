"""What script/server leaves for `script/run` and `script/reset`: the settings of both services."""

from __future__ import annotations

from pathlib import Path

import pytest
from vibework.testing.local.problems import LocalProblem

from script.local import services

CREDENTIALS = {"USERS_SECRET_KEYS": "u:1", "NOTIFICATIONS_SECRET_KEYS": "n:1"}


@pytest.fixture(autouse=True)
def _no_databases_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MYSQL_HOST", "MYSQL_PASSWORD", "MONGODB_URL", "SECRET_KEYS", "USERS_PORT", "NOTIFICATIONS_PORT"):
        monkeypatch.delenv(name, raising=False)


def test_settings_of_the_environment_are_left_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The databases that script/server was pointed at are known in another terminal, where nothing names them."""
    monkeypatch.setenv("MYSQL_HOST", "db.example")
    monkeypatch.setenv("MONGODB_URL", "mongodb://other.example/d")
    monkeypatch.setenv("PURGE_KEEP_DAYS", "3")
    monkeypatch.setenv("EDITOR", "ed")
    services.write_settings(services.pair({}, CREDENTIALS), tmp_path)
    monkeypatch.undo()
    users = services.read_settings(tmp_path, "users-service")
    assert (users["MYSQL_HOST"], users["PURGE_KEEP_DAYS"], users["GRPC_PORT"]) == ("db.example", "3", "50051")
    assert services.read_settings(tmp_path, "notifications-service")["MONGODB_URL"] == "mongodb://other.example/d"
    assert {"EDITOR", "PATH"} & users.keys() == set()


def test_local_databases_come_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What script/server has decided is what its services have, whatever else was set."""
    monkeypatch.setenv("MYSQL_PASSWORD", "of something else")
    services.write_settings(services.pair({"MYSQL_PASSWORD": "ours"}, CREDENTIALS), tmp_path)
    assert services.read_pair(tmp_path)[0].settings["MYSQL_PASSWORD"] == "ours"


def test_settings_are_for_their_owner_alone_and_go_with_the_services(tmp_path: Path) -> None:
    """They hold passwords and keys, and say by being there that the services run."""
    services.write_settings(services.pair({}, CREDENTIALS), tmp_path)
    assert services.are_told(tmp_path)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    services.remove_settings(tmp_path)
    assert not services.are_told(tmp_path)
    with pytest.raises(LocalProblem, match="start it first"):
        services.read_pair(tmp_path)
