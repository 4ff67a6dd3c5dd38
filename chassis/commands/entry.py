"""The console commands: each starts a command line, or says in one line which package is not installed.

Nothing outside of Python's own library is imported here: `pip install vibework-services` alone brings what callers
need, and no command line.
"""

from __future__ import annotations

import importlib
import sys
from typing import Final, NoReturn

from chassis import core_dumps

EXIT_NOT_INSTALLED: Final = 2
_DISTRIBUTION: Final = "vibework-services"
_OWN: Final = frozenset({"chassis", "migrations", "notifications_service", "users_service", "vibework"})


def start(package: str) -> NoReturn:
    """Run the command line of a service's package; end with 2 where packages of the extra `server` are missing."""
    core_dumps.forbid()
    command = package.replace("_", "-")
    try:
        importlib.import_module(f"{package}.cli").main(prog_name=command)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or missing in _OWN:
            raise
        sys.stderr.write(
            f"{command} needs the package {missing}, which is not installed: pip install '{_DISTRIBUTION}[server]'\n"
        )
        sys.exit(EXIT_NOT_INSTALLED)
    raise AssertionError("a command line ends the process")
