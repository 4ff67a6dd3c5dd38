"""Plain text beyond this machine: refused at the start unless it is allowed, and then told at every start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chassis.commands import workers
from chassis.serving import plaintext
from chassis.settings import ServerSettings, WrongSetting
from tests.harness.database_servers import ROOT
from tests.harness.patience import PATIENCE_SECONDS

ELSEWHERE = ["0.0.0.0", "::", "[::]", "10.0.0.1", "fd00::1", "users.internal", "127.0.0.1.example.org", ""]  # noqa: S104
ECHO = [sys.executable, "-m", "tests.unit.chassis.echo_server"]
RULE = "GRPC_HOST: without TLS only an address of loopback; set TLS_CERT_FILE and TLS_KEY_FILE, or ALLOW_PLAINTEXT=true"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_tls(host: str) -> None:
    """On a machine of one's own nothing has to be set up."""
    plaintext.check(ServerSettings(grpc_host=host))


@pytest.mark.parametrize("host", ELSEWHERE)
def test_any_other_address_needs_tls_or_a_word(host: str) -> None:
    """A name counts as elsewhere, wherever it leads today; certificates or the setting let it pass."""
    with pytest.raises(WrongSetting) as caught:
        plaintext.check(ServerSettings(grpc_host=host))
    assert str(caught.value).startswith(RULE)
    plaintext.check(ServerSettings(grpc_host=host, allow_plaintext=True))
    plaintext.check(ServerSettings(grpc_host=host, tls_cert_file=Path("a"), tls_key_file=Path("b")))


def start(**variables: str) -> subprocess.Popen[str]:
    """Start a server as a process."""
    environment = {**os.environ, "GRPC_PORT": "0", "GRPC_DRAIN_MS": "0", "LOG_FORMAT": "json", **variables}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(ECHO, cwd=ROOT, env=environment, **pipes)


def test_a_server_does_not_start() -> None:
    """One line on stderr names the setting, the exit code is that of a wrong one, and nothing was begun."""
    with start(GRPC_HOST="0.0.0.0") as process:  # noqa: S104
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert err.startswith(f"wrong setting: {RULE}")
    assert (len(err.splitlines()), out) == (1, "")


def test_where_it_is_allowed_every_start_says_so() -> None:
    """The line is a warning, before the one that says where it listens."""
    with start(GRPC_HOST="0.0.0.0", ALLOW_PLAINTEXT="true") as process:  # noqa: S104
        assert process.stdout is not None
        warning = process.stdout.readline()
        assert "PLAIN TEXT" in warning
        assert '"level":"warning"' in warning
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)


def test_workers_are_not_even_started(capsys: pytest.CaptureFixture[str]) -> None:
    """Their parent says it once, in place of all of them."""
    settings = ServerSettings(grpc_host="0.0.0.0")  # noqa: S104
    assert workers.serve(["false"], 4, settings, {}) == 2
    assert capsys.readouterr().err.startswith(f"wrong setting: {RULE}")
