"""Both distributions as people install them: into empty environments, on each Python that is there, run from those."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Final

import pytest
from vibework.testing.local.ports import LOOPBACK, free_port

from tests.harness.archives import unpack
from tests.harness.database_servers import ROOT
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.users import SECRET_KEYS
from tests.harness.wheels import build, copy_sources, install
from tests.harness.workers import serving

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_800), pytest.mark.xdist_group("distributions")]

VERSIONS: Final = ("3.11", "3.12", "3.13", "3.14")
CALL: Final = """
import sys
from vibework.client import Users
with Users.connect(sys.argv[1]) as users:
    made = users.create_user(email="ada@example.com", name="Ada").user
    print(users.get_user(id=made.id).user.name)
"""
WHERE: Final = "import chassis, migrations, users_service; print(*chassis.__path__, *migrations.__path__)"


def pythons() -> dict[str, str]:
    """Return the Pythons of this machine that the distributions are for: kept by pyenv, or on PATH."""
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = {}
    for version in VERSIONS:
        name = f"python{version}"
        path = next((str(each) for each in sorted(kept.glob(f"{version}.*/bin/{name}"))), shutil.which(name))
        # Of one that it does not keep, pyenv has a program that only says so.
        if path and subprocess.run([path, "-S", "-c", ""], capture_output=True, check=False).returncode == 0:
            found[version] = path
    return found


def ran(program: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a program of an environment, with no settings but these, in a folder in which nothing of ours is."""
    passed_on = {name: value for name, value in os.environ.items() if name in {"HOME", "LANG", "PATH", "TMPDIR"}}
    return subprocess.run(
        [str(program), *arguments],
        cwd=program.parents[1],
        env={**passed_on, **settings},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


PYTHONS: Final = pythons()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels, built from their sdists, as an index would offer them; by the name of the distribution."""
    tree = tmp_path_factory.mktemp("tree")
    copy_sources(tree)
    made = {}
    for name, folder in (("vibework", tree / "client"), ("vibework-services", tree)):
        unpacked = tmp_path_factory.mktemp(name)
        unpack(build("sdist", folder), unpacked)
        (sources,) = unpacked.iterdir()
        made[name] = build("wheel", sources)
    return made


def installed(wheels: dict[str, Path], version: str, folder: Path, *wanted: str) -> Path:
    """Install ours from their wheels into an empty environment of a Python; return its folder of programs."""
    ours = [f"{each} @ {wheels[each.partition('[')[0]].as_uri()}" for each in wanted]
    return install(folder, *ours, python=PYTHONS[version]).parent


def metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_metadata_says_what_it_is(wheels: dict[str, Path]) -> None:
    """An index shows version, licence and the Pythons that it is for; both are of one release."""
    for name, wheel in wheels.items():
        told = metadata(wheel)
        assert told["Name"] == name
        assert told["License-Expression"] == "Apache-2.0"
        assert told.get_all("License-File") == ["LICENSE", "NOTICE"]
        assert told["Requires-Python"] == ">=3.11"
        assert told["Description-Content-Type"] == "text/markdown"
        assert told["Version"] == metadata(wheels["vibework"])["Version"]


def test_a_checkout_packs_none_of_its_tests(tmp_path: Path) -> None:
    """Sources that are handed on are those of the packages, the contract, and what says what they are."""
    listed = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT, text=True).split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            target = tmp_path / "tree" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
    for folder in ("", "client"):
        with tarfile.open(build("sdist", tmp_path / "tree" / folder)) as archive:
            parts = [name.partition("/")[2] for name in archive.getnames()]
        unwanted = re.compile(r"(tests|script|deploy|docs|\.ci|\.venv[^/]*|\.local)(/|$)")
        assert [name for name in parts if unwanted.match(name)] == []
        assert {"LICENSE", "NOTICE", "README.md", "pyproject.toml"} <= set(parts)


def test_there_is_a_python_to_try() -> None:
    """Without any the tests below would be none."""
    assert PYTHONS.keys() <= set(VERSIONS)
    assert PYTHONS


@pytest.mark.parametrize("version", PYTHONS)
def test_what_callers_install_is_grpcio_and_protobuf_alone(
    wheels: dict[str, Path], version: str, tmp_path: Path
) -> None:
    """`pip install vibework` brings the client with the two packages that it needs, and what grpcio itself needs."""
    programs = installed(wheels, version, tmp_path / "client", "vibework")
    (packages,) = (tmp_path / "client").glob("lib/python*/site-packages")
    found = {path.name.partition("-")[0] for path in packages.glob("*.dist-info")} - {"pip", "setuptools"}
    assert found == {"grpcio", "protobuf", "typing_extensions", "vibework"}
    done = ran(programs / "python", "-W", "error", "-c", "import vibework.client; print('imported')")
    assert (done.returncode, done.stdout) == (0, "imported\n"), done.stderr


@pytest.mark.parametrize("version", PYTHONS)
def test_without_the_extra_the_commands_say_what_is_missing(
    wheels: dict[str, Path], version: str, tmp_path: Path
) -> None:
    """`pip install vibework-services` has both commands, which name the extra in one line, with exit code 2."""
    programs = installed(wheels, version, tmp_path / "base", "vibework", "vibework-services")
    for command in ("users-service", "notifications-service"):
        done = ran(programs / command, "serve")
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"{command} needs the package click, .*'vibework-services\[server\]'\n", done.stderr)


@contextmanager
def served(program: Path, port: int, **settings: str) -> Iterator[None]:
    """Run `serve` of an environment until the context ends, which it does well."""
    variables = {
        **settings,
        "GRPC_PORT": str(port),
        "METRICS_PORT": "0",
        "GRPC_DRAIN_MS": "0",
        "PATH": os.environ["PATH"],
    }
    folder = program.parents[1]
    with (folder / f"{program.name}.log").open("wb") as log:
        process = subprocess.Popen([str(program), "serve"], cwd=folder, env=variables, stdout=log, stderr=log)
        try:
            wait_for(lambda: process.poll() is not None or serving(port), program.name)
            yield
        finally:
            process.terminate()
            ended = process.wait(PATIENCE_SECONDS)
    assert ended == 0, (folder / f"{program.name}.log").read_text()


# What is between the oldest and the newest differs in nothing that matters here, and each takes most of a minute.
@pytest.mark.parametrize("version", sorted({min(PYTHONS), max(PYTHONS)}))
def test_the_services_run_without_a_checkout(
    wheels: dict[str, Path],
    version: str,
    mysql_empty_database: MySQLDatabase,
    mongodb_empty_database: MongoDatabase,
    tmp_path: Path,
) -> None:
    """`pip install 'vibework-services[server]'` migrates empty databases and serves; the installed client calls it."""
    programs = installed(wheels, version, tmp_path / "server", "vibework", "vibework-services[server]")
    where = ran(programs / "python", "-c", WHERE).stdout.split()
    assert len(where) == 2
    assert all(Path(place).is_relative_to(tmp_path) for place in where)
    release = metadata(wheels["vibework-services"])["Version"]
    own = {
        "users-service": mysql_empty_database.environment() | {"NOTIFICATIONS_ADDRESS": "off"},
        "notifications-service": mongodb_empty_database.environment() | {"USERS_ADDRESS": "127.0.0.1:1"},
    }
    ports = {command: free_port() for command in own}
    for command, settings in own.items():
        assert ran(programs / command, "--version").stdout == f"{command} {release}\n"
        assert "Usage:" in ran(programs / command, "--help").stdout
        migrated = ran(programs / command, "migrate", "up", **settings)
        assert migrated.returncode == 0, migrated.stderr
        settings["SECRET_KEYS"] = SECRET_KEYS
    with (
        served(programs / "users-service", ports["users-service"], **own["users-service"]),
        served(programs / "notifications-service", ports["notifications-service"], **own["notifications-service"]),
    ):
        called = ran(programs / "python", "-c", CALL, f"{LOOPBACK}:{ports['users-service']}")
        assert called.stdout == "Ada\n", called.stderr
        assert serving(ports["notifications-service"])
