"""`script/server`: databases, migrations and both services, up until Ctrl-C, then down in order."""

from __future__ import annotations

import argparse
import errno
import fcntl
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, TextIO

from vibework.testing.local.problems import EXIT_DIED, LocalProblem
from vibework.testing.local.processes import Process
from vibework.testing.local.services import START_TIMEOUT_SECONDS, migrate

from script.local import banner, certs, credentials, databases, mail, pause, services
from script.local.logs import LogFollower
from script.local.progress import step

ROOT = Path(__file__).resolve().parents[2]
LOCAL = ROOT / ".local"
FREE_MEGABYTES = 1_000
STOP_GRACE_SECONDS = 30.0
VARIABLES = f"""\
environment:
  MYSQL_HOST, and MYSQL_PORT, MYSQL_USER, MYSQL_PASSWORD, MYSQL_DATABASE
                              a MySQL server to use in place of a local one
  MONGODB_URL                 a MongoDB replica set to use in place of a local one
  USERS_PORT                  port of the users service; default: {services.USERS_PORT}
  NOTIFICATIONS_PORT          port of the notifications service; default: {services.NOTIFICATIONS_PORT}
  USERS_METRICS_PORT, NOTIFICATIONS_METRICS_PORT
                              ports of their metrics; default: {services.METRICS_PORTS["users"]} and \
{services.METRICS_PORTS["notifications"]}
  METRICS_PORT                0: no metrics
  MAIL_PORT                   port on which mails are caught; default: {mail.USUAL_PORT}, or any that is free
  SMTP_HOST                   a relay that takes the mails, with the settings of docs/email.md; nothing is caught then
  EMAIL_FROM, EMAIL_FROM_NAME whom the mails are from
  SECRET_KEYS                 keys of both services in place of those in credentials.env
  LOG_FORMAT                  console or json; default: console
  GRPC_DRAIN_MS               how long a service that ends still takes calls; default: 0

Every other setting of the services (README.md) is passed on to them.
"""


class FolderInUse(LocalProblem):
    """A script/server, or a script/reset, is at work on the folder."""


class StopRequested(BaseException):
    """Ctrl-C or SIGTERM: not an error, so that nothing takes it for one."""


class Stack:
    """Everything that script/server has started, in the order in which it is stopped."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.services: list[Process] = []
        self.databases: databases.Databases | None = None
        self.mail: mail.MailCatcher | None = None
        self.follower: LogFollower | None = None
        self.lock: TextIO | None = None  # held while anything runs on the folder

    def processes(self) -> list[Process]:
        """Return what must keep running."""
        return [*self.services, *self.below()]

    def below(self) -> list[Process]:
        """Return what the services need."""
        needed = (self.mail, self.databases)
        return [process for each in needed if each is not None for process in each.processes()]

    def stop_services(self) -> None:
        """Stop the services, which finish their calls."""
        _stop_all(self.services, "Stopping the services")
        self.services = []
        if self.follower is not None:
            self.follower.stop()
        self.follower = None
        if self.mail is not None:
            self.mail.forget_log()

    def stop(self) -> None:
        """Stop the services, then what they need."""
        self.stop_services()
        _stop_all(self.below(), "Stopping the databases")
        if self.lock is not None:
            self.lock.close()

    def kill(self) -> None:
        """End everything at once."""
        for process in self.processes():
            process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; return the exit code: 0 stopped, 1 something died, 2 something stood in the way."""
    parser = argparse.ArgumentParser(
        prog="script/server",
        description=__doc__,
        epilog=VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--directory", type=Path, default=LOCAL, help="where data and logs are kept; default: .local")
    parser.add_argument(
        "--tls", action="store_true", help="with certificates (script/certs), for callers that have one"
    )
    options = parser.parse_args(arguments)
    folder = options.directory.resolve()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _request_stop)
    stack = Stack()
    try:
        return _run_and_stop(stack, folder, tls=options.tls)
    except StopRequested:  # asked a second time, while stopping
        stack.kill()
        return EXIT_DIED


def _run_and_stop(stack: Stack, folder: Path, *, tls: bool) -> int:
    code = 0
    try:
        stack.lock = claim(folder)
        _run(stack, folder, certs.made(folder / "certs") if tls else None)
    except StopRequested:
        print(file=sys.stderr)
    except LocalProblem as problem:
        code = _tell(problem)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        code = _tell(LocalProblem(f"{error.strerror}: {error.filename or folder}"))
    finally:
        if stack.lock is not None:  # what is there is this run's own
            services.remove_settings(folder)
        stack.stop()
    return code


def _run(stack: Stack, folder: Path, certificates: certs.Certificates | None) -> None:
    secrets = credentials.load_or_make(folder / "credentials.env")
    stack.databases = databases.described(folder, secrets, program_cache=LOCAL / "mongod", usual_ports=folder == LOCAL)
    stack.mail = mail.MailCatcher(folder, usual_port=folder == LOCAL)
    pair = services.pair(stack.databases.environment(), secrets, stack.mail.environment(), certificates)
    services.check_ports(pair)
    stack.databases.start()
    stack.mail.start()
    services.write_settings(pair, folder)
    logs = folder / "logs"
    with step("Migrating"):
        migrate(pair, logs)
    _start_services(stack, pair, logs)
    told = [*stack.databases.lines(), *stack.mail.lines()]
    print(banner.text(pair, told, folder, usual=folder == LOCAL, certificates=certificates), flush=True)
    _follow(stack, pair, logs)
    while True:
        _watch_until_pause(stack.processes(), folder)
        _pause(stack, pair, folder)


def _pause(stack: Stack, pair: Sequence[services.Service], folder: Path) -> None:
    print("script/reset is at work: the services stop, and start again after it", file=sys.stderr)
    stack.stop_services()
    services.remove_settings(folder)
    with pause.over(folder):
        services.write_settings(pair, folder)
        _start_services(stack, pair, folder / "logs")
    _follow(stack, pair, folder / "logs")


def claim(folder: Path) -> TextIO:
    """Make the folder, see that there is room in it, and keep other script/servers out of it."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # the databases in it have no accounts of their own that keep other users out
    free = shutil.disk_usage(folder).free // 1_000_000
    if free < FREE_MEGABYTES:
        raise LocalProblem(f"the disk is full: {free} MB are free in {folder}, {FREE_MEGABYTES} are needed")
    lock = (folder / "server.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise FolderInUse(f"another script/server runs on {folder}") from None
    return lock


def _start_services(stack: Stack, pair: Sequence[services.Service], logs: Path) -> None:
    with step("Starting the services"):
        for service in pair:
            log = logs / f"{service.name}.log"
            log.unlink(missing_ok=True)
            stack.services.append(service.run("serve", log=log))
        for service, process in zip(pair, stack.services, strict=True):
            process.wait_until(service.is_serving, timeout=START_TIMEOUT_SECONDS)


def _follow(stack: Stack, pair: Sequence[services.Service], logs: Path) -> None:
    followed = [(service.name, logs / f"{service.name}.log") for service in pair]
    if stack.mail is not None and stack.mail.is_wanted:
        followed.append(("mail", stack.mail.log))
    stack.follower = LogFollower(followed)
    stack.follower.start()


def _watch_until_pause(processes: Sequence[Process], folder: Path) -> None:
    """Wait until a pause is wanted; raise `LocalProblem` that names the process if one ends, which none should."""
    while not pause.is_wanted(folder):
        for process in processes:
            if process.exit_code is not None:
                raise LocalProblem(
                    f"{process.name} ended with code {process.exit_code} ({process.log}); stopping everything",
                    detail=process.tail(),
                    exit_code=EXIT_DIED,
                )
        time.sleep(0.2)


def _stop_all(processes: Sequence[Process], text: str) -> None:
    if not processes:
        return
    with step(text):
        for process in processes:
            process.terminate()
        for process in processes:
            process.finish(grace=STOP_GRACE_SECONDS)


def _tell(problem: LocalProblem) -> int:
    if problem.detail:
        print(problem.detail, file=sys.stderr)
    print(f"server: {problem}", file=sys.stderr, flush=True)
    return problem.exit_code


def _request_stop(*_: object) -> NoReturn:
    raise StopRequested


if __name__ == "__main__":
    sys.exit(main())
