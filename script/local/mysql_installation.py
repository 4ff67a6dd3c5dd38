"""Installing a MySQL server from the system's packages where this machine has none."""

from __future__ import annotations

from vibework.testing.local.mysql_installation import INSTEAD, SERVER_NAMES, MySQLInstallation, find
from vibework.testing.local.problems import LocalProblem

from script.local import packages

# The server alone where it can be had: no service of the system's own is then set up or started.
PACKAGE_NAMES = {
    "apt-get": (r"mariadb-server-core(-[0-9.]+)?", r"mariadb-client-core(-[0-9.]+)?"),
    "dnf": ("mariadb-server",),
    "yum": ("mariadb-server",),
    "zypper": ("mariadb",),
    "apk": ("mariadb", "mariadb-client"),
    "pacman": ("mariadb",),
    "brew": ("mariadb",),
}


def find_or_install() -> MySQLInstallation:
    """Return the server of this machine, installed from the system's packages if there was none."""
    found = find()
    if found is None:
        packages.install("a MySQL server", PACKAGE_NAMES, instead=INSTEAD)
        found = find()
    if found is None:
        raise LocalProblem(f"the installed package holds no {' or '.join(SERVER_NAMES)}: {INSTEAD}")
    return found
