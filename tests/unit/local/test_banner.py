"""What script/server says: its banner, with grpcurl and without, and its help."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from script.local import banner, server
from script.local.certs import Certificates
from script.local.services import Service

FOLDER = Path("/home/ada/a folder")
LOCAL = Path(server.__file__).parent


def calls(users_port: int, certificates: Certificates | None = None) -> list[list[str]]:
    """Return the words of the banner's calls."""
    pair = (Service("users", users_port, {}), Service("notifications", 50052, {}))
    text = banner.text(pair, [], FOLDER, usual=False, certificates=certificates).replace("\\\n", " ")
    return [
        shlex.split(line, comments=True) for line in text.splitlines() if line.startswith(("grpcurl", "script/call"))
    ]


@pytest.fixture(params=["with grpcurl", "without"])
def has_grpcurl(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both kinds of machines."""
    there = bool(request.param == "with grpcurl")
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/grpcurl" if there else None)
    return there


def test_calls_are_by_what_is_there(*, has_grpcurl: bool) -> None:
    """Where grpcurl is missing nothing has to be installed, and at the usual port no address is to be typed."""
    found = calls(50051)
    if has_grpcurl:
        assert [words[:2] for words in found] == [["grpcurl", "-plaintext"]] * 3
    else:
        data = '{"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}'
        assert found == [["script/call", "--list"], ["script/call", "vibework.users.v1.SessionService/SignUp", data]]


def test_calls_lead_to_this_server(*, has_grpcurl: bool) -> None:
    """To another port, and over TLS with the certificates of a caller, whatever the folder is called."""
    *_, call = calls(1234, Certificates(FOLDER / "certs"))
    assert "127.0.0.1:1234" in call
    assert [word for word in call if word.startswith(str(FOLDER))] == [
        str(FOLDER / "certs" / name) for name in ("ca.crt", "caller.crt", "caller.key")
    ]


def test_the_help_names_every_variable(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever script/server reads of its environment is told by --help."""
    written = "\n".join((LOCAL / f"{name}.py").read_text() for name in ("server", "databases", "mail", "services"))
    read = set(re.findall(r'environ(?:\.get\(|\[)"(\w+)"|_port\("(\w+)"', written))
    names = {name for found in read for name in found if name}
    assert {"MYSQL_HOST", "MONGODB_URL", "MAIL_PORT", "USERS_PORT", "SECRET_KEYS"} <= names
    with pytest.raises(SystemExit):
        server.main(["--help"])
    told = capsys.readouterr().out
    of_services = {f"{name}_METRICS_PORT" for name in ("USERS", "NOTIFICATIONS")}
    assert [name for name in sorted(names | of_services) if not re.search(rf"\b{name}\b", told)] == []
