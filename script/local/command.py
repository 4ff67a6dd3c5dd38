"""`script/run`: a command of a service with the settings that script/server has given to that service."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vibework.testing.local.problems import LocalProblem

from script.local import services
from script.local.server import LOCAL

COMMANDS = ("users-service", "notifications-service")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Become the command; exit with 2 and one line where that is not possible."""
    parser = argparse.ArgumentParser(prog="script/run", description=__doc__)
    parser.add_argument("--directory", type=Path, default=LOCAL, help="that of script/server; default: .local")
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        settings = services.read_settings(options.directory.resolve(), options.command)
    except LocalProblem as problem:
        print(f"run: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)
    program = Path(sys.executable).with_name(options.command)
    os.execve(program, [options.command, *options.arguments], {**os.environ, **settings})  # noqa: S606


if __name__ == "__main__":
    main()
