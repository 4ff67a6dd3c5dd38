"""Settings: read from the environment, and refused with one line that shows no value."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from chassis.settings import ServerSettings, load


class Settings(ServerSettings):
    """Settings as a service defines them."""

    mysql_host: str
    mysql_password: SecretStr


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MYSQL_HOST", "db")
    monkeypatch.setenv("MYSQL_PASSWORD", "hunter2")


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable is the field's name in capitals; an empty one counts as not set."""
    monkeypatch.setenv("GRPC_PORT", "6000")
    monkeypatch.setenv("GRPC_HOST", "")
    settings = load(Settings)
    assert (settings.mysql_host, settings.grpc_port, settings.grpc_host) == ("db", 6000, "127.0.0.1")
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("MYSQL_HOST", None, "MYSQL_HOST is missing"),
        ("GRPC_PORT", "hunter2", "GRPC_PORT: "),
        ("GRPC_PORT", "70000", "65535"),
        ("LOG_FORMAT", "hunter2", "'json'"),
        ("TLS_CERT_FILE", "hunter2.pem", "TLS_CERT_FILE and TLS_KEY_FILE"),
        ("TLS_CLIENT_CA_FILE", "hunter2.pem", "TLS_CLIENT_CA_FILE"),
    ],
)
def test_a_wrong_variable_ends_the_start_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str | None, says: str
) -> None:
    """The line names the variable and its rule and repeats no value; the exit code is 2."""
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as caught:
        load(Settings)
    (line,) = capsys.readouterr().err.splitlines()
    assert caught.value.code == 2
    assert says in line
    assert "hunter2" not in line
