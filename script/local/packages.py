"""Installing what is missing from the system's own packages, unattended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from vibework.testing.local.problems import LocalProblem

from script.local.turns import one_at_a_time

INSTALL_COMMANDS: Mapping[str, tuple[str, ...]] = {
    "apt-get": ("apt-get", "install", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=120"),
    "dnf": ("dnf", "install", "-y"),
    "yum": ("yum", "install", "-y"),
    "zypper": ("zypper", "--non-interactive", "install"),
    "apk": ("apk", "add", "--no-cache"),
    "pacman": ("pacman", "-Sy", "--noconfirm", "--needed"),
    "brew": ("brew", "install"),
}
TIMEOUT_SECONDS = 900


def package_manager() -> str | None:
    """Return the name of the package manager of this machine, or None where there is none that we know."""
    return next((name for name in INSTALL_COMMANDS if shutil.which(name)), None)


def install(what: str, names: Mapping[str, Sequence[str]], *, instead: str) -> None:
    """Install the packages that `names` gives for this machine's package manager.

    `what` is the thing for messages and `instead` what the reader can do without it. On apt a name is a
    regular expression, since Debian and Ubuntu have put versions into names. Raises `LocalProblem`.
    """
    manager = package_manager()
    if manager is None or manager not in names:
        raise LocalProblem(f"{what} is not installed and no package manager was found to install it: {instead}")
    privileged = _privileges(manager, what, instead)
    # Package managers refuse to run twice; for whoever comes second there is little left to do.
    with one_at_a_time(Path(tempfile.gettempdir()) / f"installing-packages-{os.getuid()}.lock"):
        if manager == "apt-get":
            _run([*privileged, "apt-get", "update", "-q"], what, instead)
        exact = [_exact_name(manager, name) for name in names[manager]]
        _run([*privileged, *INSTALL_COMMANDS[manager], *exact], what, instead)


def _privileges(manager: str, what: str, instead: str) -> list[str]:
    if manager == "brew" or os.geteuid() == 0:
        return []
    if not shutil.which("sudo"):
        raise LocalProblem(f"{what} is not installed, and installing it needs root or sudo: {instead}")
    return ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]


def _exact_name(manager: str, name: str) -> str:
    if manager != "apt-get":
        return name
    found = subprocess.run(
        ["apt-cache", "search", "--names-only", f"^{name}$"], capture_output=True, text=True, check=False
    )
    candidates = sorted(re.findall(r"^(\S+) - ", found.stdout, re.MULTILINE))
    return candidates[0] if candidates else name


def _run(command: Sequence[str], what: str, instead: str) -> None:
    unattended = ["env", "DEBIAN_FRONTEND=noninteractive", *command]
    if command[0] == "sudo":
        unattended = ["sudo", *command[1:]] if "-n" not in command else list(command)
    try:
        done = subprocess.run(
            unattended, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS, stdin=None
        )
    except subprocess.TimeoutExpired:
        raise LocalProblem(f"installing {what} took over {TIMEOUT_SECONDS} s: {instead}") from None
    if done.returncode:
        detail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise LocalProblem(f"{what} could not be installed ({' '.join(command)}): {instead}", detail=detail)
