"""Known vulnerabilities, licences and the bill of materials of what the servers are built from.

The tools are those of requirements/supply-chain.txt, in an environment of their own: pip-audit looks the locked
packages up, pip-licenses reads the metadata of those that are installed, cyclonedx-py writes the bill of materials.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
TOOLS: Final = ROOT / ".venv-supply-chain" / "bin"
SERVER: Final = ROOT / ".venv-server" / "bin" / "python"
DOCUMENT: Final = ROOT / "docs" / "licences.md"
LOCK: Final = ROOT / "requirements" / "server.txt"
BILL: Final = ROOT / "dist" / "sbom.cdx.json"
# What is run somewhere: by the servers, the tests and the linters, and by this script. The packages of the group
# `common-passwords` are read, not run; those of `generate` see our own files alone, and are old on purpose.
AUDITED: Final = ("dev", "supply-chain")
# A package of the servers that every database of vulnerabilities knows.
WELL_KNOWN: Final = "grpcio"
# Licences under which the image may be handed on, as packages spell them. A new one is read before it comes here.
ALLOWED: Final = frozenset(
    {
        "3-Clause BSD License",
        "Apache Software License",
        "Apache-2.0",
        "BSD License",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT License",
        "MIT-0",
        "MPL-2.0",
        "PSF-2.0",
        "Python Software Foundation License",
    }
)
# Our own, and what installs packages: neither is handed on by others.
LEFT_OUT: Final = frozenset({"pip", "setuptools", "vibework", "vibework-services"})
HEAD: Final = """# Licences of the packages that the servers run with

`script/supply-chain --write` writes this list from the metadata of the packages of `requirements/server.txt`, and
`script/supply-chain` fails where it is out of date, or names a licence that `script/supply_chain.py` does not allow.
What the project has taken over from others itself is in [NOTICE](../NOTICE).

| package | licence |
|---|---|
"""


@dataclass
class Audit:
    """What is known of the packages of a lock file."""

    mendable: list[str] = field(default_factory=list)
    unmended: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    looked_at: int = 0


def parts_of(licence: str) -> list[str]:
    """Return the licences of an expression (SPDX), or of several classifiers."""
    return [part.strip() for part in re.split(r"\bAND\b|\bOR\b|[();]", licence) if part.strip()]


def canonical(name: str) -> str:
    """Return a package's name as indexes compare names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def refused(packages: Iterable[tuple[str, str]]) -> list[str]:
    """Return the packages of which a licence is not allowed; one of several to choose from is not enough."""
    return [
        f"{name}: {licence}" for name, licence in packages if not ALLOWED.issuperset(parts_of(licence) or [licence])
    ]


def document(packages: Iterable[tuple[str, str]]) -> str:
    """Return the list of licences as a document."""
    return HEAD + "".join(f"| {name} | {licence} |\n" for name, licence in packages)


def stale(text: str, packages: Sequence[tuple[str, str]], locked: Iterable[str]) -> list[str]:
    """Return how the document differs: a package that only other Pythons need may be in it, and need not be."""
    rows = dict(re.findall(r"^\| ([A-Za-z0-9._-]+) \| (.+) \|$", text, re.MULTILINE))
    rows.pop("package", None)
    wrong = [f"{name}: {licence}" for name, licence in packages if rows.get(name) != licence]
    gone = set(map(canonical, rows)) - set(map(canonical, locked))
    return [*wrong, *(f"{name} is no longer locked" for name in sorted(gone))]


def audit_of(report: Any) -> Audit:
    """Sort what pip-audit reports. What it has skipped it calls free of vulnerabilities; here it counts as unseen."""
    found = Audit()
    for package in report["dependencies"]:
        if "skip_reason" in package:
            found.unseen.append(package["name"])
            continue
        found.looked_at += 1
        for each in package["vulns"]:
            fixed = ", ".join(each["fix_versions"])
            line = f"{package['name']} {package['version']}: {each['id']}"
            (found.mendable if fixed else found.unmended).append(f"{line}, mended in {fixed}" if fixed else line)
    return found


def _installed() -> list[tuple[str, str]]:
    command: list[str | Path] = [TOOLS / "pip-licenses", "--python", SERVER, "--format=json", "--with-system"]
    told = json.loads(subprocess.check_output(command, text=True))
    found = [(row["Name"], row["License"]) for row in told if canonical(row["Name"]) not in LEFT_OUT]
    return sorted(found, key=lambda package: canonical(package[0]))


def _check_licences(*, write: bool) -> bool:
    packages = _installed()
    if write:
        DOCUMENT.write_text(document(packages))
    text = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    locked = re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(), re.MULTILINE)
    problems = {
        "licences that nobody has allowed": refused(packages),
        f"{DOCUMENT.relative_to(ROOT)} is out of date: script/supply-chain --write": stale(text, packages, locked),
    }
    for problem, lines in problems.items():
        if lines:
            print(f"{problem}:", *lines, sep="\n  ")
    if any(problems.values()):
        return False
    print(f"licences: {len(packages)} packages, all allowed")
    return True


def _audit(requirements: Path, *options: str) -> Audit | str:
    """Return what is known of the packages of a file, or why nothing is."""
    command: list[str | Path] = [
        TOOLS / "pip-audit",
        "--disable-pip",
        "--format=json",
        "--progress-spinner=off",
        *options,
    ]
    done = subprocess.run([*command, "--requirement", requirements], capture_output=True, text=True, check=False)
    try:
        return audit_of(json.loads(done.stdout))
    except ValueError:
        return str((done.stderr.strip().splitlines() or [f"pip-audit ended with {done.returncode}"])[-1])


def _why_no_database() -> str:
    """Return why the database cannot be asked; empty where it can. An index without one knows nothing."""
    (one,) = re.findall(f"^{WELL_KNOWN}==[^ ]+", LOCK.read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "one.txt")
        requirements.write_text(one)
        found = _audit(requirements, "--no-deps")
    if isinstance(found, str):
        return found
    return f"it does not know {WELL_KNOWN}" if found.unseen else ""


def _check_vulnerabilities() -> bool:
    if why := _why_no_database():
        print(f"vulnerabilities: NOT LOOKED AT: the database cannot be asked here: {why}")
        return True
    good = True
    for name in AUDITED:
        found = _audit(ROOT / "requirements" / f"{name}.txt", "--require-hashes")
        if isinstance(found, str):
            print(f"vulnerabilities of requirements/{name}.txt: NOT LOOKED AT: {found}")
            continue
        print(f"vulnerabilities of requirements/{name}.txt: {found.looked_at} packages looked at")
        if found.unseen:
            print("  not in the database:", *found.unseen)
        for line in found.unmended:
            print(f"  not mended yet: {line}")
        for line in found.mendable:
            print(f"  to be upgraded: {line}")
        good = good and not found.mendable
    return good


def _write_bill() -> None:
    BILL.parent.mkdir(exist_ok=True)
    command: list[str | Path] = [TOOLS / "cyclonedx-py", "environment", SERVER, "--pyproject", ROOT / "pyproject.toml"]
    subprocess.run([*command, "--output-reproducible", "--output-file", BILL], check=True)
    print(f"bill of materials: {BILL.relative_to(ROOT)}, {len(json.loads(BILL.read_text())['components'])} components")


def main(arguments: Sequence[str]) -> int:
    """Check everything; return 1 where something is to be done."""
    _write_bill()
    good = [_check_licences(write="--write" in arguments), _check_vulnerabilities()]
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
