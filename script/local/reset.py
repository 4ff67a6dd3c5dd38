"""`script/reset`: both databases emptied and migrated anew, after asking."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from chassis.settings import load
from notifications_service.settings import DatabaseSettings as NotificationsSettings
from script.local import credentials, databases, services
from script.local.contents import Contents, MongoContents, MySQLContents
from script.local.problems import EXIT_DIED, LocalProblem
from script.local.progress import step
from script.local.server import LOCAL, STOP_GRACE_SECONDS, claim
from users_service.settings import DatabaseSettings as UsersSettings


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
    # Nobody can start script/server on the folder meanwhile, nor is it running.
    resources.enter_context(claim(folder))
    secrets = credentials.load_or_make(folder / "credentials.env")
    servers = databases.described(folder, secrets, program_cache=LOCAL / "mongod", usual_ports=folder == LOCAL)
    resources.callback(_stop, servers)
    servers.start()
    os.environ.update(servers.environment())
    both = (
        MySQLContents(load(UsersSettings)),
        MongoContents(load(NotificationsSettings).mongodb_url.get_secret_value()),
    )
    if not used:
        _refuse_if_used(both)
    print(_told(both))
    if asked and input("Type yes to delete all of it: ").strip() != "yes":
        print("Nothing was deleted.")
        return EXIT_DIED
    with step("Deleting"):
        for contents in both:
            contents.delete()
    with step("Migrating"):
        services.migrate(services.pair(servers.environment(), secrets), folder / "logs")
    print("Both databases are empty and migrated.")
    return 0


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
