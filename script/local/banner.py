"""The banner of script/server when all is up: where everything is, and what to type next."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from vibework.testing.local import ports

from script.local.certs import Certificates
from script.local.services import USERS_PORT, Service

RULE = "=" * 78
# Where script/call looks by itself.
USUAL_USERS = f"{ports.LOOPBACK}:{USERS_PORT}"
PYTHON = """\
import grpc
from vibework.users.v1 import GetUserRequest, UserServiceStub
with grpc.insecure_channel("{address}") as channel:
    print(UserServiceStub(channel).GetUser(GetUserRequest(email="ada@example.com")))"""


WITH_TLS = """\
import grpc
from pathlib import Path
from vibework.users.v1 import GetUserRequest, UserServiceStub
ca, key, certificate = (Path(name).read_bytes() for name in {files})
with grpc.secure_channel("{address}", grpc.ssl_channel_credentials(ca, key, certificate)) as channel:
    print(UserServiceStub(channel).GetUser(GetUserRequest(email="ada@example.com")))"""


def text(
    pair: Sequence[Service],
    below: Sequence[str],
    folder: Path,
    *,
    usual: bool,
    certificates: Certificates | None = None,
) -> str:
    """Return the banner; `below`: lines on what the services use; `usual`: other scripts find the folder themselves.

    `certificates`: of callers, where the services ask for some.
    """
    users, notifications = pair
    directory = "" if usual else f" --directory {shlex.quote(str(folder))}"
    return "\n".join(
        [
            RULE,
            f"users          {users.address}",
            f"notifications  {notifications.address}",
            *below,
            f"data, logs     {folder} (passwords and keys: credentials.env)",
            "",
            "Next, in another terminal:",
            *_next(users, notifications, directory, certificates),
            "",
            "Ctrl-C stops everything.",
            RULE,
        ]
    )


def _next(users: Service, notifications: Service, directory: str, certificates: Certificates | None) -> list[str]:
    sign_up = shlex.quote('{"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}')
    return [
        *_lists(users, notifications, certificates),
        f"script/run{directory} users-service seed --users 1000       # made-up users, and then",
        f"script/run{directory} notifications-service seed            # their notifications",
        f"script/reset{directory}                                     # both databases empty again",
        f"script/mail{directory}                                      # the last mail that was caught",
        *_call(users.address, USUAL_USERS, "vibework.users.v1.SessionService/SignUp", sign_up, certificates),
        "",
        ".venv/bin/python - <<'END'",
        *_python(users.address, certificates).splitlines(),
        "END",
    ]


def _has_grpcurl() -> bool:
    return shutil.which("grpcurl") is not None


def _lists(users: Service, notifications: Service, certificates: Certificates | None) -> list[str]:
    if not _has_grpcurl():
        return ["script/call --list                               # all that can be called"]
    how = _options(("-cacert", "-cert", "-key"), certificates) or " -plaintext"
    return [f"grpcurl{how} {service.address} list" for service in (users, notifications)]


def _call(address: str, usual: str, method: str, data: str, certificates: Certificates | None) -> list[str]:
    """Return the lines of a call; script/call, which comes with the repository, knows the usual address by itself."""
    if _has_grpcurl():
        how = _options(("-cacert", "-cert", "-key"), certificates) or " -plaintext"
        return [f"grpcurl{how} -d {data} \\", f"  {address} {method}"]
    where = "" if address == usual else f" --address {address}"
    return [f"script/call{where}{_options(('--ca', '--cert', '--key'), certificates)} \\", f"  {method} {data}"]


def _options(names: tuple[str, str, str], certificates: Certificates | None) -> str:
    """Return the options that name the certificates of a caller."""
    if certificates is None:
        return ""
    files = (certificates.authority, certificates.certificate("caller"), certificates.key("caller"))
    return "".join(f" {name} {shlex.quote(str(file))}" for name, file in zip(names, files, strict=True))


def _python(address: str, certificates: Certificates | None) -> str:
    if certificates is None:
        return PYTHON.format(address=address)
    files = (certificates.authority, certificates.key("caller"), certificates.certificate("caller"))
    return WITH_TLS.format(address=address, files=tuple(map(str, files)))
