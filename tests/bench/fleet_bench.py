"""Workers that die: what becomes of many mails that four processes send, of which one is killed and one stopped.

``PYTHONPATH=.:client .venv/bin/python -m tests.bench.fleet_bench``, which starts a database of its own; a part of
``script/bench --only delivery``. ``tests/fault`` does the same with few.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from script.local.progress import step
from tests.bench.databases import SECRET_KEYS
from tests.bench.sizes import mongodb_server
from tests.harness.fleet import Survived, survive

DELIVERIES: Final = 10_000
LEASE: Final = timedelta(seconds=5)


def measure(number: int, logs: Path) -> Survived:
    """Send so many mails with workers of which some go, on a database of its own."""
    with tempfile.TemporaryDirectory() as folder, mongodb_server(Path(folder)) as url:
        return survive(url, number, LEASE, logs, SECRET_KEYS)


@click.command()
@click.option("--deliveries", default=DELIVERIES, show_default=True, type=click.IntRange(500), help="Mails to send.")
def main(deliveries: int) -> None:
    """Send, print what came of it as JSON, and fail where a mail was lost, or came twice under a lease that held."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as logs, step("Workers that are killed and stopped"):
        found = measure(deliveries, Path(logs))
    click.echo(json.dumps({**dataclasses.asdict(found), "seconds": round(time.monotonic() - began)}))
    sys.exit(bool(found.lost or found.doubled > found.explained))


if __name__ == "__main__":
    main()
