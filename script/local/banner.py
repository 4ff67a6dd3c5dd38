"""The banner of script/server when all is up: where everything is, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from script.local.services import Service

RULE = "=" * 78
PYTHON = """\
import grpc
from vibework.users.v1 import GetUserRequest, UserServiceStub
with grpc.insecure_channel("{address}") as channel:
    print(UserServiceStub(channel).GetUser(GetUserRequest(email="ada@example.com")))"""


def text(pair: Sequence[Service], below: Sequence[str], folder: Path, *, usual: bool) -> str:
    """Return the banner; `below`: lines on what the services use; `usual`: other scripts find the folder themselves."""
    users, notifications = pair
    return "\n".join(
        [
            RULE,
            f"users          {users.address}",
            f"notifications  {notifications.address}",
            *below,
            f"data, logs     {folder} (passwords and keys: credentials.env)",
            "",
            "Next, in another terminal:",
            *_next(users, notifications, "" if usual else f" --directory {shlex.quote(str(folder))}"),
            "",
            "Ctrl-C stops everything.",
            RULE,
        ]
    )


def _next(users: Service, notifications: Service, directory: str) -> list[str]:
    sign_up = '{"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}'
    return [
        f"grpcurl -plaintext {users.address} list",
        f"grpcurl -plaintext {notifications.address} list",
        f"script/run{directory} users-service seed --users 1000       # made-up users, and then",
        f"script/run{directory} notifications-service seed            # their notifications",
        f"script/reset{directory}                                     # both databases empty again",
        f"script/mail{directory}                                      # the last mail that was caught",
        f"grpcurl -plaintext -d {shlex.quote(sign_up)} \\",
        f"  {users.address} vibework.users.v1.SessionService/SignUp",
        "",
        ".venv/bin/python - <<'END'",
        *PYTHON.format(address=users.address).splitlines(),
        "END",
    ]
