"""Finding, or installing, the client programs of MySQL or MariaDB that recovery to a point in time needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from vibework.testing.local.problems import LocalProblem

from script.local import packages

# What reads binary logs; MariaDB's also goes by MySQL's name.
LOG_READERS = ("mariadb-binlog", "mysqlbinlog")
PACKAGE_NAMES = {
    "apt-get": ("mariadb-client",),
    "dnf": ("mariadb",),
    "yum": ("mariadb",),
    "zypper": ("mariadb-client",),
    "apk": ("mariadb-client",),
    "pacman": ("mariadb-clients",),
    "brew": ("mariadb",),
}
INSTEAD = "install the client programs of MySQL or MariaDB"


def find_or_install_log_reader() -> Path:
    """Return the program that reads binary logs, installed from the system's packages if there was none."""
    found = _find()
    if found is None:
        packages.install("mysqlbinlog", PACKAGE_NAMES, instead=INSTEAD)
        found = _find()
    if found is None:
        raise LocalProblem(f"the installed package holds no {' or '.join(LOG_READERS)}: {INSTEAD}")
    return found


def _find() -> Path | None:
    return next((Path(found) for name in LOG_READERS if (found := shutil.which(name))), None)
