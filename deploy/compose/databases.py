#!/usr/bin/env python3
"""Publishes the databases of the compose stack on this machine, and says how to reach them.

``databases.py forward`` carries connections over from the published ports into the databases' own networks, which have
no way out. ``databases.py settings`` prints the settings for a shell: of the services' own accounts, or with
``--root`` of accounts that may make databases, which the tests need.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from functools import partial
from pathlib import Path

SECRETS = Path("/run/secrets")
BUFFER = 65_536
TARGETS = {3306: "mysql", 27017: "mongodb"}


async def forward() -> None:
    """Listen for both databases, until the process is ended."""
    for port, host in TARGETS.items():
        # On every address of the container; of the machine, only loopback's ports lead here.
        await asyncio.start_server(partial(carry, host=host, port=port), "0.0.0.0", port)  # noqa: S104
    await asyncio.Event().wait()


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """Carry one connection over, both ways, until both ends have closed."""
    with contextlib.suppress(OSError):
        other_reader, other_writer = await asyncio.open_connection(host, port)
        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer))
    writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction over; a connection that breaks ends it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(BUFFER):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()


def settings(*, root: bool) -> dict[str, str]:
    """Return the settings for a shell on this machine."""
    mysql_port, mongodb_port = os.environ["MYSQL_PUBLISHED_PORT"], os.environ["MONGODB_PUBLISHED_PORT"]
    user, secret = ("root", "root_password") if root else ("vibework", "password")
    account = f"{user}:{read('mongodb', secret)}"
    # The member knows itself by a name of the compose network, so clients must not look for others.
    options = "directConnection=true" + ("&authSource=admin" if root else "")
    return {
        "MYSQL_HOST": "127.0.0.1",
        "MYSQL_PORT": mysql_port,
        "MYSQL_USER": user,
        "MYSQL_PASSWORD": read("mysql", secret),
        "MYSQL_DATABASE": "vibe_db",
        "MONGODB_URL": f"mongodb://{account}@127.0.0.1:{mongodb_port}/vibe_notifications?{options}",
    }


def read(database: str, name: str) -> str:
    """Return a secret of a database."""
    return (SECRETS / database / name).read_text()


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=["forward", "settings"])
    parser.add_argument("--root", action="store_true")
    arguments = parser.parse_args()
    if arguments.command == "forward":
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(forward())
        return
    for name, value in settings(root=arguments.root).items():
        sys.stdout.write(f"export {name}='{value}'\n")


if __name__ == "__main__":
    main()
