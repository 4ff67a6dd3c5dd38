"""Files that settings name: one that is not there stops the start with one line that names the setting."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from chassis import probe
from chassis.settings import ServerSettings
from notifications_service.settings import Settings as NotificationsSettings
from tests.harness.database_servers import ROOT
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.serving.test_tls import Pair, _make
from users_service.settings import Settings as UsersSettings

KEYS = f"test:{base64.b64encode(bytes(range(32))).decode()}"
# Nobody listens there, and nobody is asked.
AWAY = "127.0.0.1:1"
REQUIRED = {
    "users_service": {
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": "1",
        "MYSQL_USER": "nobody",
        "MYSQL_PASSWORD": "x",
        "MYSQL_DATABASE": "vibework",
        "MYSQL_TLS": "verify",
        "NOTIFICATIONS_ADDRESS": AWAY,
    },
    "notifications_service": {"MONGODB_URL": f"mongodb://{AWAY}/vibe", "USERS_ADDRESS": AWAY},
}
SETTINGS: dict[str, type[ServerSettings]] = {
    "users_service": UsersSettings,
    "notifications_service": NotificationsSettings,
}
# What only the health check from the command line uses.
OF_THE_PROBE = ("probe_tls_cert_file", "probe_tls_key_file")
# What is written, and made where it is not there.
WRITTEN = ("audit_log_file",)


def files(settings: type[ServerSettings]) -> list[str]:
    """Return the settings that name files."""
    fields = settings.model_fields.items()
    named = [name for name, field in fields if name.endswith("_file") or "Path" in str(field.annotation)]
    return [name for name in named if name not in (*OF_THE_PROBE, *WRITTEN)]


# Settings without which others make no sense.
_TOKENS = {"JWT_ISSUER": "https://issuer.example.org", "JWT_AUDIENCE": "vibework"}
_BESIDE = {
    "access_policy_file": {**_TOKENS, "JWKS_URL": f"https://{AWAY}/"},
    "jwks_file": _TOKENS,
    "jwks_ca_file": {**_TOKENS, "JWKS_URL": f"https://{AWAY}/"},
    "jwks_token_file": {**_TOKENS, "JWKS_URL": f"https://{AWAY}/"},
}
CASES = [(package, name) for package, settings in SETTINGS.items() for name in files(settings)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate and its key."""
    return _make(tmp_path_factory.mktemp("pair"), "server")


def start(package: str, pair: Pair, **changed: str) -> subprocess.CompletedProcess[str]:
    """Start a server that has all files, but for what is changed."""
    there = {"TLS_CERT_FILE": str(pair.certificate), "TLS_KEY_FILE": str(pair.key)}
    own = {"SECRET_KEYS": KEYS, "GRPC_PORT": "0", "METRICS_PORT": "0", "GRPC_TRANSPORT": "grpcio"}  # which has TLS
    environment = {**os.environ, **REQUIRED[package], **own}
    command = [sys.executable, "-m", package, "serve"]
    return subprocess.run(
        command,
        env=environment | there | changed,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("package", "name"), CASES)
def test_a_missing_file_is_named_by_its_setting(package: str, name: str, pair: Pair, tmp_path: Path) -> None:
    """No traceback, no path in place of the name, and nothing is begun."""
    variable = name.upper()
    ended = start(package, pair, **_BESIDE.get(name, {}), **{variable: str(tmp_path / "absent.pem")})
    assert ended.returncode == 2, ended
    assert ended.stderr == f"wrong setting: {variable}: there is no such file\n"


@pytest.mark.long
@pytest.mark.parametrize(
    ("package", "variable", "rule"),
    [
        ("users_service", "TLS_KEY_FILE", "TLS_CERT_FILE and TLS_KEY_FILE must name a certificate and its key"),
        ("users_service", "TLS_CLIENT_CA_FILE", "TLS_CLIENT_CA_FILE: there is no certificate (PEM) in the file"),
        ("users_service", "PEER_TLS_CA_FILE", "PEER_TLS_CA_FILE: there is no certificate (PEM) in the file"),
        ("users_service", "MYSQL_TLS_CA_FILE", "MYSQL_TLS_CA_FILE: there is no certificate (PEM) in the file"),
        ("notifications_service", "SMTP_CA_FILE", "SMTP_CA_FILE: there is no certificate (PEM) in the file"),
    ],
)
def test_a_file_that_is_something_else_is_named_too(
    package: str, variable: str, rule: str, pair: Pair, tmp_path: Path
) -> None:
    """What is no certificate would show at the first handshake only, and as the callers' fault."""
    (tmp_path / "other.pem").write_text("something else")
    relay = {"SMTP_HOST": "127.0.0.1", "EMAIL_FROM": "no-reply@example.com"}
    ended = start(package, pair, **relay, **{variable: str(tmp_path / "other.pem")})
    assert ended.returncode == 2, ended
    assert ended.stderr.startswith(f"wrong setting: {rule}")
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("variable", ["TLS_CERT_FILE", "PROBE_TLS_CERT_FILE", "PROBE_TLS_KEY_FILE"])
def test_the_health_check_names_the_setting(
    variable: str, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command that containers run says which of its files is not there."""
    for prefix in ("", "PROBE_"):
        monkeypatch.setenv(f"{prefix}TLS_CERT_FILE", str(pair.certificate))
        monkeypatch.setenv(f"{prefix}TLS_KEY_FILE", str(pair.key))
    monkeypatch.setenv(variable, str(tmp_path / "absent.pem"))
    assert probe.main([AWAY]) == 2
    assert capsys.readouterr().err == f"cannot ask: {variable}: there is no such file\n"
