"""Finding a MySQL or MariaDB server on this machine, and making its first data directory."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from vibework.testing.local.problems import LocalProblem

SERVER_NAMES = ("mysqld", "mariadbd")
INSTALLER_NAMES = ("mariadb-install-db", "mysql_install_db")
INSTALLER_NEEDS = ("my_print_defaults",)  # in a package of its own on some systems
# Where systems keep servers, for users whose PATH leaves these out.
MORE_DIRECTORIES = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/usr/local/mysql/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/mysql/bin",
    "/opt/homebrew/opt/mariadb/bin",
)
INSTEAD = "install MySQL 8.0+ or MariaDB 10.6+, or name a server in MYSQL_HOST"


@dataclass(frozen=True)
class MySQLInstallation:
    """A server program and whether it is MariaDB."""

    program: Path
    is_mariadb: bool

    def common_options(self) -> list[str]:
        """Return the options that both making a data directory and serving from it need."""
        # As root the server would switch to another user, who cannot reach a directory of root's.
        return ["--no-defaults", *(["--user=root"] if os.geteuid() == 0 else [])]

    def initialise(self, data: Path) -> None:
        """Make a new data directory at `data`, which must not exist; raise `LocalProblem`.

        It appears under its name only when whole, so that an interrupted start is not taken for a database.
        """
        unfinished = data.with_name(f"{data.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        if self.is_mariadb:
            unfinished.mkdir(parents=True)
        else:
            unfinished.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own for temporary tables: in a shared one, servers that start at once remove each other's.
        environment = {**os.environ, "TMPDIR": str(unfinished.parent)}
        done = subprocess.run(
            self._initialiser(unfinished), env=environment, capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            detail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise LocalProblem(f"{self.program.name} could not make its data directory {data}", detail=detail)
        unfinished.rename(data)

    def _initialiser(self, data: Path) -> list[str]:
        if not self.is_mariadb:
            return [str(self.program), *self.common_options(), "--initialize-insecure", f"--datadir={data}"]
        installer = _find(INSTALLER_NAMES, beside=self.program)
        if installer is None:
            raise LocalProblem(f"{INSTALLER_NAMES[0]} is missing beside {self.program}: {INSTEAD}")
        return [
            str(installer),
            *self.common_options(),
            f"--datadir={data}",
            "--auth-root-authentication-method=socket",
            "--skip-test-db",
        ]


def find() -> MySQLInstallation | None:
    """Return the server that is installed on this machine, or None where none is, or not whole."""
    program = _find(SERVER_NAMES)
    if program is None:
        return None
    version = subprocess.run([str(program), "--no-defaults", "--version"], capture_output=True, text=True, check=False)
    is_mariadb = "mariadb" in version.stdout.lower()
    if is_mariadb and not all(_find(names, beside=program) for names in (INSTALLER_NAMES, INSTALLER_NEEDS)):
        return None
    return MySQLInstallation(program, is_mariadb)


def _find(names: tuple[str, ...], *, beside: Path | None = None) -> Path | None:
    near = (
        [str(beside.parent), str(beside.parent.parent / "bin"), str(beside.parent.parent / "scripts")] if beside else []
    )
    path = os.pathsep.join([*near, os.environ.get("PATH", os.defpath), *MORE_DIRECTORIES])
    return next((Path(found) for name in names if (found := shutil.which(name, path=path))), None)
