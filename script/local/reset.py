"""`script/reset`: both databases emptied and migrated anew, after asking."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vibework.testing.local.problems import EXIT_DIED, LocalProblem
from vibework.testing.local.services import migrate

from chassis.settings import load
from notifications_service.settings import DatabaseSettings as NotificationsSettings
from script.local import credentials, databases, pause, services
from script.local.contents import Contents, MongoContents, MySQLContents
from script.local.progress import step
from script.local.server import LOCAL, STOP_GRACE_SECONDS, FolderInUse, claim
from users_service.settings import DatabaseSettings as UsersSettings

# A server sees for a moment longer than its client that a connection has ended.
CLOSING_SECONDS = 5.0
# What names a database: where both the environment and a running script/server have one, they must name the same.
PLACES = ("MYSQL_HOST", "MYSQL_PORT", "MYSQL_DATABASE", "MONGODB_URL")


@dataclass(frozen=True)
class Target:
    """The databases to empty, by the services that use them; `beside` a running script/server or not."""

    pair: tuple[services.Service, services.Service]
    beside: bool

    def contents(self) -> tuple[Contents, Contents]:
        """Return what the settings of the services name."""
        wanted = {name.upper() for kind in (UsersSettings, NotificationsSettings) for name in kind.model_fields}
        given = [item for service in self.pair for item in service.settings.items()]
        with _environment({name: value for name, value in given if name in wanted}):
            url = load(NotificationsSettings).mongodb_url.get_secret_value()
            return MySQLContents(load(UsersSettings)), MongoContents(url)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Have these settings in the environment for as long as the context lasts."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 done, 1 not wanted after all, 2 something stood in the way."""
    parser = argparse.ArgumentParser(prog="script/reset", description=__doc__)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--while-in-use", action="store_true", help="although others are connected")
    parser.add_argument("--directory", type=Path, default=LOCAL, help="that of script/server; default: .local")
    options = parser.parse_args(arguments)
    try:
        with ExitStack() as resources:
            return _reset(options.directory.resolve(), resources, asked=not options.yes, used=options.while_in_use)
    except LocalProblem as problem:
        if problem.detail:
            print(problem.detail, file=sys.stderr)
        print(f"reset: {problem}", file=sys.stderr)
        return problem.exit_code
    except KeyboardInterrupt:
        print("\nreset: interrupted; run it again to have it done", file=sys.stderr)
        return EXIT_DIED


def _reset(folder: Path, resources: ExitStack, *, asked: bool, used: bool) -> int:
    if asked and not sys.stdin.isatty():
        raise LocalProblem("nobody is there to ask; --yes deletes without asking")
    target = _target(folder, resources)
    both = target.contents()
    if not used and not target.beside:
        _refuse_if_used(both)
    print(_told(both))
    if asked and input("Type yes to delete all of it: ").strip() != "yes":
        print("Nothing was deleted.")
        return EXIT_DIED
    if target.beside:
        resources.enter_context(pause.paused(folder, lambda: _is_claimed(folder)))
        if not used:
            _wait_until_unused(both)
    _empty(both, target.pair, folder / "logs")
    print("Both databases are empty and migrated.")
    return 0


def _target(folder: Path, resources: ExitStack) -> Target:
    try:
        # Nobody can start script/server on the folder meanwhile.
        resources.enter_context(claim(folder))
    except FolderInUse:
        if not services.are_told(folder):
            raise
        return Target(_same_databases(services.read_pair(folder), folder), beside=True)
    secrets = credentials.load_or_make(folder / "credentials.env")
    servers = databases.described(folder, secrets, program_cache=LOCAL / "mongod", usual_ports=folder == LOCAL)
    resources.callback(_stop, servers)
    servers.start()
    return Target(services.pair(servers.environment(), secrets), beside=False)


def _same_databases(
    pair: tuple[services.Service, services.Service], folder: Path
) -> tuple[services.Service, services.Service]:
    """Return the services of script/server, unless the environment names other databases than theirs."""
    theirs = {name: value for service in pair for name, value in service.settings.items()}
    for name in PLACES:
        if os.environ.get(name, theirs.get(name)) != theirs.get(name):
            raise LocalProblem(
                f"{name} names another database than that of the script/server on {folder}: stop it first"
            )
    return pair


def _is_claimed(folder: Path) -> bool:
    try:
        claim(folder).close()
    except FolderInUse:
        return True
    return False


def _empty(both: Sequence[Contents], pair: Sequence[services.Service], logs: Path) -> None:
    with step("Deleting"):
        for contents in both:
            contents.delete()
    with step("Migrating"):
        migrate(pair, logs)


def _wait_until_unused(both: Sequence[Contents]) -> None:
    deadline = time.monotonic() + CLOSING_SECONDS
    while time.monotonic() < deadline and any(contents.connections() for contents in both):
        time.sleep(0.1)
    _refuse_if_used(both)


def _refuse_if_used(both: Sequence[Contents]) -> None:
    for contents in both:
        if number := contents.connections():
            raise LocalProblem(
                f"{contents.kind} at {contents.place} has {number} connections {contents.whose}: "
                "stop them first, or say --while-in-use"
            )


def _told(both: Sequence[Contents]) -> str:
    lines = ["This deletes:"]
    for contents in both:
        rows = {name: number for name, number in contents.rows().items() if number}
        held = ", ".join(f"{name} {number:,}" for name, number in rows.items()) or "nothing"
        lines.append(f"  {contents.kind:<7}  {contents.place}  database {contents.name}: {held}")
    return "\n".join(lines)


def _stop(servers: databases.Databases) -> None:
    for process in servers.processes():
        process.terminate()
    for process in servers.processes():
        process.finish(grace=STOP_GRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
