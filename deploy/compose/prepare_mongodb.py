"""Makes the compose stack's mongod a replica set of one member, with an account that reaches its one database.

May be repeated: what is there already stays, and the account's password is set to the one of the secrets. Run by the
one-shot service ``mongodb-prepare``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pymongo
from pymongo.errors import ConnectionFailure, OperationFailure

SECRETS = Path("/run/secrets")
MEMBER = "mongodb:27017"
DATABASE = "vibe_notifications"
# Drills restore into it.
DRILL = "vibe_drill"
ACCOUNT = "vibework"
TIMEOUT_SECONDS = 60.0

ALREADY_INITIALIZED = 23
USER_EXISTS = 51003

Client = pymongo.MongoClient[dict[str, Any]]


def main() -> int:
    """Wait for mongod, then prepare it; exit 1 with one line when it does not come up."""
    password = (SECRETS / "root_password").read_text()
    with Client(MEMBER, username="root", password=password, directConnection=True, timeoutMS=5_000) as client:
        try:
            wait_until(lambda: initiate(client), "answer")
            wait_until(lambda: bool(client.admin.command("hello")["isWritablePrimary"]), "become primary")
        except TimeoutError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        set_account(client, (SECRETS / "password").read_text())
    sys.stdout.write("the replica set has its primary, the database its account\n")
    return 0


def initiate(client: Client) -> bool:
    """Make the member a replica set of its own; True when it is one."""
    try:
        client.admin.command("replSetInitiate", {"_id": "rs0", "members": [{"_id": 0, "host": MEMBER}]})
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:
            raise
    return True


def set_account(client: Client, password: str) -> None:
    """Create the account of the notifications service and its migrations, or set its password."""
    # dbAdmin is for the migrations, which change validators; both roles end at the service's database and the drills'.
    roles = [{"role": role, "db": database} for role in ("readWrite", "dbAdmin") for database in (DATABASE, DRILL)]
    # What `status` shows: members, the oplog, slow commands, how much each index is used.
    roles += [{"role": "clusterMonitor", "db": "admin"}, {"role": "read", "db": "local"}]
    database = client[DATABASE]
    try:
        database.command("createUser", ACCOUNT, pwd=password, roles=roles)
    except OperationFailure as error:
        if error.code != USER_EXISTS:
            raise
        database.command("updateUser", ACCOUNT, pwd=password, roles=roles)


def wait_until(done: Callable[[], bool], what: str) -> None:
    """Ask twice a second, as long as nobody answers; raise TimeoutError after TIMEOUT_SECONDS."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        try:
            if done():
                return
        except ConnectionFailure:
            pass  # not up yet, or the image's own first start, which listens on loopback only
        if time.monotonic() > deadline:
            raise TimeoutError(f"MongoDB did not {what} within {TIMEOUT_SECONDS:.0f} s")
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
