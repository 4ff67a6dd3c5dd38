"""`script/restore-drill`: databases and services of its own, a backup of both under load, a restore, and a verdict."""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vibework.testing.local import ports
from vibework.testing.local.mongodb import REPLICA_SET
from vibework.testing.local.mysql import MySQLAccount
from vibework.testing.local.problems import EXIT_DIED, LocalProblem
from vibework.testing.local.services import START_TIMEOUT_SECONDS, migrate

from chassis.backup.reading import Archive
from script.drill import verdict
from script.drill.ledger import Ledger
from script.drill.verdict import Verdict
from script.drill.writers import write_until
from script.local.mongodb import LocalMongoDB
from script.local.mysql import LocalMySQL
from script.local.progress import step
from script.local.services import Service

PROGRAM_CACHE = Path(__file__).resolve().parents[2] / ".local" / "mongod"
COMMAND_SECONDS = 300
# So that the snapshot falls into the middle of the writes.
BEFORE_SECONDS = 4.0
AFTER_SECONDS = 1.0


@dataclass(frozen=True)
class Stack:
    """What the drill runs on."""

    directory: Path
    users: Service
    notifications: Service

    def backup_of(self, service: Service) -> Path:
        """Return where a service's backup goes."""
        return self.directory / f"{service.name}.backup"

    def command(self, service: Service, *arguments: str) -> list[str]:
        """Return a service's command."""
        return [str(Path(sys.executable).with_name(service.command)), *arguments]


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the drill; return 0 where all holds, 1 where not, 2 where something stands in the way."""
    parser = argparse.ArgumentParser(prog="script/restore-drill", description=__doc__)
    parser.add_argument("--seconds", type=float, default=BEFORE_SECONDS, help="of writing before the backup")
    seconds = parser.parse_args(arguments).seconds
    try:
        with tempfile.TemporaryDirectory(prefix="vibework-drill-") as directory, _stack(Path(directory)) as stack:
            verdicts = _drill(stack, seconds)
    except LocalProblem as problem:
        print("\n".join(filter(None, [problem.detail, f"restore-drill: {problem}"])), file=sys.stderr)
        return problem.exit_code
    print(verdict.table(verdicts))
    return 0 if all(each.holds for each in verdicts) else EXIT_DIED


def _drill(stack: Stack, seconds: float) -> list[Verdict]:
    ledger = Ledger()
    with step("Writing, and backing both databases up meanwhile"):
        asyncio.run(_write_and_back_up(stack, ledger, seconds))
    restored = _restored_environment(stack)
    with step("Restoring both into empty databases"):
        for service in (stack.users, stack.notifications):
            _run(stack.command(service, "restore", str(stack.backup_of(service))), restored)
    users, notifications = (_taken_at(stack, service) for service in (stack.users, stack.notifications))
    print(f"{len(ledger.writes):,} writes acknowledged, {ledger.failed} failed", file=sys.stderr)
    return [
        *asyncio.run(verdict.judge_users(ledger, users, restored)),
        *verdict.judge_notifications(ledger, notifications, restored["MONGODB_URL"]),
        verdict.went_on(ledger, max(users, notifications)),
    ]


async def _write_and_back_up(stack: Stack, ledger: Ledger, seconds: float) -> None:
    stop = asyncio.Event()
    writing = asyncio.create_task(
        write_until(stop, stack.users.address, stack.notifications.address, ledger), name="writers"
    )
    try:
        await asyncio.sleep(seconds)
        await asyncio.gather(*(_back_up(stack, service) for service in (stack.users, stack.notifications)))
        await asyncio.sleep(AFTER_SECONDS)
    finally:
        stop.set()
        await writing


async def _back_up(stack: Stack, service: Service) -> None:
    command = stack.command(service, "backup", str(stack.backup_of(service)))
    await asyncio.to_thread(_run, command, {**os.environ, **service.settings})


def _run(command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS
    )
    if done.returncode:
        name = " ".join([Path(command[0]).name, *command[1:]])
        raise LocalProblem(f"{name} ended with code {done.returncode}", detail=done.stderr, exit_code=EXIT_DIED)


def _taken_at(stack: Stack, service: Service) -> datetime:
    return Archive(stack.backup_of(service)).manifest.taken_at


def _restored_environment(stack: Stack) -> dict[str, str]:
    settings = {**stack.users.settings, **stack.notifications.settings}
    return {**os.environ, **settings, "MYSQL_DATABASE": "restored", "MONGODB_URL": _url(settings, "restored")}


def _url(settings: dict[str, str], database: str) -> str:
    return settings["MONGODB_URL"].replace("/drill?", f"/{database}?")


@contextmanager
def _stack(directory: Path) -> Iterator[Stack]:
    with ExitStack() as running:
        with step("Starting databases and services"):
            settings = _start_databases(directory, running)
            users, notifications = (
                Service(name, port, {**settings, "GRPC_PORT": str(port)})
                for name, port in (("users", ports.free_port()), ("notifications", ports.free_port()))
            )
            migrate((users, notifications), directory)
            for service in (users, notifications):
                process = service.run("serve", log=directory / f"{service.name}.log")
                running.callback(process.stop)
                process.wait_until(service.is_serving, timeout=START_TIMEOUT_SECONDS)
        yield Stack(directory, users, notifications)


def _start_databases(directory: Path, running: ExitStack) -> dict[str, str]:
    # As in production: the servers force to disk what they acknowledge, and MySQL keeps its log.
    options = ("--log-bin=binlog", "--server-id=1")
    mysql = LocalMySQL(directory / "mysql", MySQLAccount("drill", secrets.token_hex(16)), durable=True, options=options)
    mongodb = LocalMongoDB(directory / "mongodb", program_cache=PROGRAM_CACHE, durable=True)
    for server in (mysql, mongodb):
        running.callback(server.kill)
        server.begin()
    mysql.wait()
    mongodb.wait()
    _create_databases(mysql)
    return {
        "MYSQL_HOST": ports.LOOPBACK,
        "MYSQL_PORT": str(mysql.port),
        "MYSQL_USER": mysql.account.user,
        "MYSQL_PASSWORD": mysql.account.password,
        "MYSQL_DATABASE": "drill",
        "MONGODB_URL": f"mongodb://{ports.LOOPBACK}:{mongodb.port}/drill?replicaSet={REPLICA_SET}",
        "SECRET_KEYS": f"drill:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "NOTIFICATIONS_ADDRESS": "off",
        "RECIPIENT_CHECK": "off",
        "GRPC_DRAIN_MS": "0",
    }


def _create_databases(mysql: LocalMySQL) -> None:
    import asyncmy

    async def create() -> None:
        connection = await asyncmy.connect(
            host=ports.LOOPBACK, port=mysql.port, user=mysql.account.user, password=mysql.account.password
        )
        async with connection.cursor() as cursor:
            for name in ("drill", "restored"):
                await cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        await connection.ensure_closed()

    asyncio.run(create())


if __name__ == "__main__":
    sys.exit(main())
