"""Passwords and keys of the local services: made once, kept in one file that only its owner can read."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from vibework.testing.local.problems import LocalProblem


def load_or_make(path: Path) -> Mapping[str, str]:
    """Return the credentials in the file, having made those that it lacks; mode 600.

    MYSQL_PASSWORD is for the local MySQL's account; USERS_SECRET_KEYS and NOTIFICATIONS_SECRET_KEYS are each
    service's SECRET_KEYS. Losing the file makes what was encrypted with the keys unreadable.
    """
    known = _read(path)
    made = {
        "MYSQL_PASSWORD": secrets.token_hex(16),
        "USERS_SECRET_KEYS": _new_key(),
        "NOTIFICATIONS_SECRET_KEYS": _new_key(),
    }
    credentials = {**made, **known}
    if credentials != known:
        _write(path, credentials)
    return credentials


def _new_key() -> str:
    return f"local1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    if not all("=" in line for line in lines):
        raise LocalProblem(f"{path} holds a line that is not NAME=VALUE")
    return dict(line.split("=", 1) for line in lines)


def _write(path: Path, credentials: Mapping[str, str]) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write("# Made by script/server for this folder's own databases and services.\n")
        file.writelines(f"{name}={value}\n" for name, value in credentials.items())
    unfinished.rename(path)
