"""A run of `script/server`, as a person starts it, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]


class Run:
    """One run of the command, after its virtual environment is made."""

    def __init__(
        self, directory: Path, users_port: int, notifications_port: int, named: Mapping[str, str], *options: str
    ) -> None:
        """Start the command on a folder and ports of the test's own; `named`: further variables."""
        self.address = f"127.0.0.1:{users_port}"
        self.directory = directory
        self.banner: list[str] = []
        unwanted = ("MYSQL_HOST", "MONGODB_URL", "SECRET_KEYS")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "script.local.server", "--directory", str(directory), *options],
            cwd=ROOT,
            env={
                **{name: value for name, value in os.environ.items() if name not in unwanted},
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")]),
                "USERS_PORT": str(users_port),
                "NOTIFICATIONS_PORT": str(notifications_port),
                **named,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        """Read up to the banner's last line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.banner.append(line)
            if line.startswith("Ctrl-C stops"):
                return
        pytest.fail(f"script/server ended before it was ready:\n{''.join(self.banner)}")

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send the signal to the command alone; return its exit code and the rest of its output."""
        os.kill(self.process.pid, number)
        output, _ = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, output

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a service's command by `script/run`."""
        command = [sys.executable, "-m", "script.local.command", "--directory", str(self.directory), *arguments]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
        return subprocess.run(
            command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    def commands(self) -> list[str]:
        """Return the commands that the banner has for another terminal, each whole."""
        whole = "".join(self.banner)
        text = whole[whole.index("Next, in another terminal:\n") : whole.index("Ctrl-C stops")].partition("\n")[2]
        document = re.search(r"^\S[^\n]*<<'END'\n.*?^END$", text, re.DOTALL | re.MULTILINE)
        assert document is not None
        lines = text.replace(document[0], "").replace("\\\n", " ").splitlines()
        return [*filter(None, lines), document[0]]

    def type(self, command: str) -> subprocess.CompletedProcess[str]:
        """Type a command in another terminal, which stands in the repository and knows nothing of the databases."""
        named = ("MYSQL_", "MONGODB_")
        known = {name: value for name, value in os.environ.items() if not name.startswith(named)}
        return subprocess.run(
            ["bash", "-c", command],
            cwd=ROOT,
            env=known,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE_SECONDS,
            check=False,
        )

    def assert_the_banner_can_be_typed(self) -> None:
        """Type its commands, one after the other, as they are printed: a newcomer sees Ada in the end.

        Little is seeded, nobody is there to be asked by script/reset, and no mail was sent before.
        """
        for command in self.commands():
            few = command.replace("seed --users 1000", "seed --users 3").replace("seed    ", "seed --notifications 8 ")
            done = self.type(few)
            said = f"{command}\n{done.stdout}{done.stderr}"
            if command.startswith("script/reset"):
                assert "nobody is there to ask" in done.stderr, said
            elif command.startswith("script/mail"):
                assert "0 mails have been caught" in done.stderr, said
            else:
                assert done.returncode == 0, said
        assert "ada@example.com" in done.stdout, said

    def child(self, command: str) -> int:
        """Return the id of the run's own child whose command line holds `command`."""
        return next(process for process, parent, line in processes() if parent == self.process.pid and command in line)

    def left_behind(self) -> list[str]:
        """Return the command lines of processes that work on the run's folder."""
        return [line for _, _, line in processes() if str(self.directory) in line]


def processes() -> list[tuple[int, int, str]]:
    """Return id, parent's id and command line of every process; `ps` is missing from small images."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            line = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
            found.append((int(folder.name), parent, line))
    return found


@contextmanager
def running(
    directory: Path, users_port: int, notifications_port: int, named: Mapping[str, str] | None = None, *options: str
) -> Iterator[Run]:
    """Run the command; it is killed afterwards should the test have failed."""
    run = Run(directory, users_port, notifications_port, named or {}, *options)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()
