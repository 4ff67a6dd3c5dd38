"""`vibework[testing]` as other teams have it: wheels, in environments with nothing else, for a project of theirs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pymongo
import pytest
from vibework.testing.local import mail, mysql_installation
from vibework.testing.local.ports import free_port

from script.local import mongodb_installation
from tests.harness.database_servers import MongoServer, MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql
from tests.harness.mails import catching
from tests.harness.pair import running_pair
from tests.harness.wheels import ROOT, build, copy_sources, install

# Environments are made, and databases, migrated and dropped, by other processes.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("consumer")]

CONSUMER: Final = ROOT / "tests" / "consumer"
RUN_SECONDS: Final = 600
PASSED: Final = 7
MONGOD: Final = ROOT / ".local" / "mongod"


class Environment:
    """An environment with the project's own tools, the plugin, and perhaps the services."""

    def __init__(self, python: Path, project: Path) -> None:
        self.python = python
        self.project = project

    def pytest(self, *arguments: str, path: str = os.defpath, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the project's tests, with these variables and no others."""
        command = [str(self.python), "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        environment = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "PYTHONDONTWRITEBYTECODE": "1", **variables}
        return _finished(command, self.project, environment)


def _finished(
    command: list[str], where: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )


def assert_all_passed(run: subprocess.CompletedProcess[str], number: int = PASSED) -> None:
    """Every test of the project passed, and none was skipped."""
    assert re.search(rf"^=+ {number} passed in", run.stdout, re.MULTILINE), run.stdout + run.stderr
    assert run.returncode == 0


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheels of what callers install and of the services."""
    tree = tmp_path_factory.mktemp("tree")
    copy_sources(tree)
    return build("wheel", tree / "client"), build("wheel", tree)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project."""
    return shutil.copytree(CONSUMER, tmp_path_factory.mktemp("consumer") / "shop")


@pytest.fixture(scope="module")
def alone(wheels: tuple[Path, Path], project: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The plugin without the services."""
    folder = tmp_path_factory.mktemp("alone") / "venv"
    return Environment(install(folder, f"vibework[testing] @ {wheels[0].as_uri()}", "pytest-asyncio"), project)


@pytest.fixture(scope="module")
def with_services(wheels: tuple[Path, Path], project: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The plugin and the services."""
    client, services = (wheel.as_uri() for wheel in wheels)
    wanted = (f"vibework[testing] @ {client}", f"vibework-services[server] @ {services}", "pytest-asyncio")
    return Environment(install(tmp_path_factory.mktemp("services") / "venv", *wanted), project)


def test_a_pair_that_runs_is_used_and_left_as_it_was(
    alone: Environment, mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path
) -> None:
    """Where addresses are named nothing is started, and users made by tests are gone after them."""
    port = free_port()
    with (
        catching(tmp_path, port) as mails,
        running_pair(mysql_database, mongodb_database, **mail.settings(port)) as pair,
    ):
        run = alone.pytest(
            VIBEWORK_USERS_ADDRESS=pair.users,
            VIBEWORK_NOTIFICATIONS_ADDRESS=pair.notifications,
            VIBEWORK_MAILS=str(mails.folder),
        )
        assert_all_passed(run)
        server = MySQLServer(mysql_database.host, mysql_database.port, mysql_database.user, mysql_database.password)
        assert run_mysql(server, ["SELECT COUNT(*) FROM users"], database=mysql_database.name) == [(0,)]


def test_the_pair_is_started_with_databases_of_its_own(with_services: Environment) -> None:
    """Where the services, mysqld and mongod are installed nothing has to be named."""
    mysqld = mysql_installation.find()
    assert mysqld is not None
    mongod = mongodb_installation.find_or_install(MONGOD)
    path = os.pathsep.join([str(mysqld.program.parent), str(mongod.parent), os.defpath])
    assert_all_passed(with_services.pytest(path=path))


def test_the_pair_is_started_on_servers_that_are_named(
    with_services: Environment, mysql_server: MySQLServer, mongodb_server: MongoServer
) -> None:
    """In databases that are new, and dropped in the end; another MYSQL_HOST in the environment is not theirs."""
    before = databases(mysql_server, mongodb_server)
    run = with_services.pytest(
        VIBEWORK_MYSQL_URL=f"mysql://{mysql_server.user}:{mysql_server.password}@{mysql_server.host}:{mysql_server.port}",
        VIBEWORK_MONGODB_URL=mongodb_server.url,
        MYSQL_HOST="of.another.example",
        MONGODB_URL="mongodb://of.another.example/",
    )
    assert_all_passed(run)
    left = databases(mysql_server, mongodb_server) - before
    assert [name for name in left if name.startswith("vibework_test")] == []


def databases(mysql: MySQLServer, mongodb: MongoServer) -> set[str]:
    """Return the names of all databases on both servers."""
    with pymongo.MongoClient[dict[str, Any]](mongodb.url) as client:
        return {*client.list_database_names(), *(name for (name,) in run_mysql(mysql, ["SHOW DATABASES"]))}


def test_what_is_missing_is_said_and_nothing_is_skipped(alone: Environment, tmp_path: Path) -> None:
    """A CI without a pair fails, with a line for each way to have one."""
    run = alone.pytest("test_customers.py", path=str(tmp_path), DOCKER_HOST=f"unix://{tmp_path}/nothing.sock")
    assert run.returncode == 1
    assert re.search(r"^=+ 3 errors in", run.stdout, re.MULTILINE), run.stdout
    for said in (
        "there is no pair of VibeWork services for the tests",
        "running: VIBEWORK_USERS_ADDRESS is not set",
        "users-service is not installed (pip install 'vibework-services[server]')",
        "mongod is not on PATH, and VIBEWORK_MONGODB_URL names no replica set",
        "containers: no Docker engine answers",
    ):
        assert said in run.stdout
    assert "exception" not in run.stdout


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"VIBEWORK_USERS_ADDRESS": "127.0.0.1:1"}, "VIBEWORK_NOTIFICATIONS_ADDRESS is not set"),
        (
            {"VIBEWORK_USERS_ADDRESS": "127.0.0.1:1", "VIBEWORK_NOTIFICATIONS_ADDRESS": "127.0.0.1:1"},
            "nothing answers at 127.0.0.1:1 (VIBEWORK_USERS_ADDRESS)",
        ),
        ({"VIBEWORK_PAIR": "elsewhere"}, "VIBEWORK_PAIR is 'elsewhere': it can be running, local, containers"),
    ],
)
def test_what_is_named_wrongly_is_said(alone: Environment, variables: Mapping[str, str], said: str) -> None:
    """And no other pair is taken in its place."""
    run = alone.pytest("test_customers.py", **variables)
    assert run.returncode == 1
    assert said in run.stdout


def test_the_project_is_typed(with_services: Environment) -> None:
    """`mypy --strict` finds nothing in the project, whose fixtures are annotated."""
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(with_services.python), "."]
    checked = _finished(command, with_services.project)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no issues found in 4 source files" in checked.stdout


@pytest.fixture
def image() -> Iterator[str]:
    """The image of this tree."""
    name = f"vibework-services:vw-test-{uuid.uuid4().hex[:8]}"
    passed_on = [f"--build-arg={name}" for name in ("PIP_INDEX_URL", "PIP_TRUSTED_HOST") if name in os.environ]
    built = _finished(["docker", "build", "--quiet", "--tag", name, *passed_on, "."], ROOT)
    assert built.returncode == 0, built.stderr
    yield name
    subprocess.run(["docker", "image", "rm", name], capture_output=True, check=False)


@pytest.mark.containers
def test_the_pair_is_started_in_containers(alone: Environment, image: str) -> None:
    """Where Docker is there and nothing else, with an image that is named."""
    # The image of the container that ends the others may not be at hand; the plugin ends them, too.
    docker = {"TESTCONTAINERS_RYUK_DISABLED": "true"}
    docker |= {name: value for name, value in os.environ.items() if name.startswith(("DOCKER_", "TESTCONTAINERS_"))}
    run = alone.pytest("--vibework-pair=containers", VIBEWORK_IMAGE=image, **docker)
    assert_all_passed(run)
