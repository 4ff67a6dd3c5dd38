"""Settings from a folder of secrets, as Docker and Kubernetes mount them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from chassis.settings import ServerSettings, load


class _Settings(ServerSettings):
    mysql_password: SecretStr


def test_secret_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret need not be in the environment, where every child process and crash report sees it."""
    monkeypatch.delenv("MYSQL_PASSWORD", raising=False)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    (tmp_path / "mysql_password").write_text("from the file\n")
    assert load(_Settings).mysql_password.get_secret_value() == "from the file"


def test_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is set for one start overrides what is mounted."""
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("MYSQL_PASSWORD", "from the environment")
    (tmp_path / "mysql_password").write_text("from the file\n")
    assert load(_Settings).mysql_password.get_secret_value() == "from the environment"


def test_missing_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that was not mounted stops the start with one line and exit code 2."""
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "absent"))
    with pytest.raises(SystemExit) as stopped:
        load(_Settings)
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "wrong setting: SECRETS_DIR: there is no such folder\n"
