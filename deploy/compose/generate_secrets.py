"""Makes the secrets of the compose stack, once, each into the volume of the containers that may read it.

What is there already stays, so that the stack can be stopped, updated and started again. Run as root by the
one-shot service ``secrets``.
"""

from __future__ import annotations

import base64
import os
import secrets
from pathlib import Path

VOLUMES = Path("/secrets")
# The users that the containers run as: the two services' own, and MongoDB's in its image.
SERVICE = 10001
MONGODB = 999
ROOT = 0


def main() -> None:
    """Write every secret that is missing."""
    keep("mysql/root_password", ROOT, password())
    mysql = keep("mysql/password", ROOT, password())
    keep("users/mysql_password", SERVICE, mysql)
    keep("users/secret_keys", SERVICE, key())

    # MongoDB wants a key between the members of a replica set that has passwords, even where there is one member.
    keep("mongodb/keyfile", MONGODB, base64.b64encode(secrets.token_bytes(96)).decode())
    keep("mongodb/root_password", MONGODB, password())
    mongodb = keep("mongodb/password", MONGODB, password())
    url = f"mongodb://vibework:{mongodb}@mongodb:27017/vibe_notifications?replicaSet=rs0"
    keep("notifications/mongodb_url", SERVICE, url)
    keep("notifications/secret_keys", SERVICE, key())


def keep(name: str, owner: int, value: str) -> str:
    """Write a secret unless it is there, for its owner alone to read; return what is there."""
    path = VOLUMES / name
    if not path.exists():
        # Whole or not at all: a half-written password would stay for good.
        partial = path.with_suffix(".new")
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o400)
        partial.write_text(value)
        os.chown(partial, owner, owner)
        partial.rename(path)
    # The folder is the volume itself; others than its owner need not even list it.
    os.chown(path.parent, owner, owner)
    path.parent.chmod(0o700)
    return path.read_text()


def password() -> str:
    """Return 256 random bits that need no escaping in a URL."""
    return secrets.token_hex(32)


def key() -> str:
    """Return a ring of one fresh key, as the setting SECRET_KEYS wants it."""
    return f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}"


if __name__ == "__main__":
    main()
