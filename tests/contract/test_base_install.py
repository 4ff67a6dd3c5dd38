"""The base install: a caller of the services needs grpcio and protobuf, old or new, and nothing of the servers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from email.parser import Parser
from importlib.metadata import Distribution
from pathlib import Path
from typing import Final

import pytest

from tests.harness.archives import unpack
from tests.harness.foreign_rules import FOREIGN_RULES
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.wheels import PACKAGES, ROOT, build, copy_sources

# In one process, so that each environment is made once; installing packages takes as long as the network does.
pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("base-install")]

GENERATOR = ROOT / ".venv-generate"
LEAST: Final = dict(
    need.split(">=") for need in tomllib.loads((ROOT / "client/pyproject.toml").read_text())["project"]["dependencies"]
)

# Run with nothing on the path but the wheel, grpcio and protobuf (and what grpcio itself needs).
CALL = """
from concurrent import futures

import grpc
from google.protobuf.any_pb2 import Any
from vibework.client import Users, aio, errors, sessions
from vibework.errors.v1 import ErrorReason
from vibework.notifications.v1 import NotificationServiceStub
from vibework.users.v1 import (
    GetUserRequest, GetUserResponse, User, UserServiceServicer, UserServiceStub, add_UserServiceServicer_to_server,
)


# google.rpc.ErrorInfo and google.rpc.Status, encoded by hand: nothing here declares them.
INFO = b"\\n\\x0bEMAIL_TAKEN\\x12\\x08vibework"
DETAIL = Any(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=INFO).SerializeToString()
TAKEN = b"\\x08\\x06\\x12\\x05taken\\x1a" + bytes([len(DETAIL)]) + DETAIL


class Servicer(UserServiceServicer):
    def CreateUser(self, request, context):
        context.set_trailing_metadata((("grpc-status-details-bin", TAKEN),))
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "taken")

    def GetUser(self, request, context):
        return GetUserResponse(user=User(id=request.id, email="ann@example.com"))


server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
add_UserServiceServicer_to_server(Servicer(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    user = UserServiceStub(channel).GetUser(GetUserRequest(id="user_1"), timeout=10).user
    NotificationServiceStub(channel)
with Users.connect(f"127.0.0.1:{port}") as users:
    assert users.get_user(id="user_1", timeout=10).user == user
    try:
        users.create_user(email="ann@example.com", timeout=10)
    except errors.EmailTaken as taken:
        assert taken.message == "taken"
    else:
        raise AssertionError
server.stop(None)
print(user.email, ErrorReason.Name(101))
"""
CALLED: Final = "ann@example.com ERROR_REASON_EMAIL_TAKEN\n"
VERSIONS: Final = "import google.protobuf, grpc; print(grpc.__version__, google.protobuf.__version__)"
PURELIB: Final = "import sysconfig; print(sysconfig.get_path('purelib'))"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packaged, so that nothing is written beside the sources."""
    tree = tmp_path_factory.mktemp("tree")
    copy_sources(tree)
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """The wheel of the services."""
    return build("wheel", tree)


@pytest.fixture(scope="module")
def client_wheel(tree: Path) -> Path:
    """The wheel of what callers install."""
    return build("wheel", tree / "client")


@pytest.fixture(scope="module", params=[pytest.param("oldest", marks=pytest.mark.long), "newest"])
def base_install(
    request: pytest.FixtureRequest, client_wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """A command that runs Python with the wheel, grpcio and protobuf, and nothing else.

    The oldest that callers may have are in the environment that generates the stubs, the newest in the tests' own.
    """
    python, packages = sys.executable, sysconfig.get_path("purelib")
    if request.param == "oldest":
        environment = {**os.environ, "VENV": str(GENERATOR)}
        subprocess.run(["script/bootstrap", "generate"], cwd=ROOT, env=environment, check=True)
        python = str(GENERATOR / "bin" / "python")
        packages = subprocess.check_output([python, "-c", PURELIB], text=True).strip()
    folder = tmp_path_factory.mktemp("base")
    with zipfile.ZipFile(client_wheel) as archive:
        archive.extractall(folder)
    for name in ("grpcio", "protobuf", "typing_extensions"):
        copy_distribution(name, packages, folder)
    return [python, "-I", "-S", "-W", "error", "-c", f"import sys; sys.path.append({str(folder)!r})"]


def copy_distribution(name: str, packages: str, folder: Path) -> None:
    """Copy an installed distribution's files."""
    for file in next(iter(Distribution.discover(name=name, path=[packages]))).files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file.locate()), target)


def run(command: list[str], *code: str) -> str:
    """Run code after that of the command, and return what it prints."""
    whole = [*command[:-1], "\n".join((command[-1], *code))]
    result = subprocess.run(whole, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_stubs_import_and_call_with_grpcio_and_protobuf_alone(base_install: list[str]) -> None:
    """A caller who installs the package without extras can make a call, on protobuf 6 and on 7, without a warning."""
    assert run(base_install, CALL) == CALLED


@pytest.mark.parametrize("order", [(FOREIGN_RULES, CALL), (CALL, FOREIGN_RULES)], ids=["before", "after"])
def test_stubs_do_not_meet_the_rules_of_others(base_install: list[str], order: tuple[str, ...]) -> None:
    """A process that has another version of `buf.validate` loads the stubs all the same, whichever comes first."""
    assert run(base_install, *order) == CALLED


def test_both_generations_of_protobuf_were_tried(base_install: list[str], request: pytest.FixtureRequest) -> None:
    """The two environments are those of the oldest gRPC with protobuf 6, and of the newest with protobuf 7."""
    grpcio, protobuf = run(base_install, VERSIONS).split()
    oldest = "oldest" in request.node.name
    assert (grpcio == LEAST["grpcio"]) is oldest
    assert protobuf.split(".")[0] == ("6" if oldest else "7")


def test_callers_need_nothing_else(client_wheel: Path) -> None:
    """What the servers need is never a burden on callers."""
    with zipfile.ZipFile(client_wheel) as archive:
        name = next(item for item in archive.namelist() if item.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    base = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in base) == ["grpcio", "protobuf"]


def test_wheels_carry_types_migrations_and_the_license(wheel: Path, client_wheel: Path) -> None:
    """Callers get types, operators the migrations, and everybody the terms."""
    with zipfile.ZipFile(client_wheel) as archive:
        names = set(archive.namelist())
    typed = {"vibework/users/v1/py.typed", "vibework/users/v1/user_pb2.pyi", "vibework/client/py.typed"}
    assert typed - names == set()
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert [name for name in names if name.startswith("migrations/mysql/versions/")]
    assert [name for name in names if name.startswith("migrations/mongodb/")]
    assert {name.rsplit("/", 1)[1] for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_wheel_carries_the_templates_of_mails(wheel: Path) -> None:
    """An installed server mails what one in the source tree does."""
    folder = Path("notifications_service/delivery/channels/mail_templates")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith(f"{folder}/")}
    assert packed == {str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*") if path.is_file()}


def test_wheel_carries_the_catalogues(wheel: Path) -> None:
    """An installed server speaks the languages of one in the source tree."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("chassis/contract/catalogues/")}
    assert packed == {str(path.relative_to(ROOT)) for path in (ROOT / "chassis/contract/catalogues").iterdir()}


def test_wheel_carries_the_list_of_common_passwords(wheel: Path) -> None:
    """An installed server refuses what one in the source tree does."""
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("users_service/passwords/common_passwords.txt.gz")
    assert packed == (ROOT / "users_service/passwords/common_passwords.txt.gz").read_bytes()


def test_no_wheel_has_a_folder_that_another_package_has(wheel: Path, client_wheel: Path) -> None:
    """Installing and removing others touches nothing of ours: no `buf`, and only packages named for what is ours."""
    for packed, expected in ((wheel, set(PACKAGES)), (client_wheel, {"vibework"})):
        with zipfile.ZipFile(packed) as archive:
            tops = {name.split("/", 1)[0] for name in archive.namelist()}
        assert {top for top in tops if not top.endswith(".dist-info")} == expected


def test_stubs_were_generated_by_the_oldest(client_wheel: Path) -> None:
    """Generated code refuses runtimes older than its generator, so none of it may come from a newer one."""
    with zipfile.ZipFile(client_wheel) as archive:
        generated = "\n".join(archive.read(name).decode() for name in archive.namelist() if "_pb2" in name)
    assert set(re.findall(r"GRPC_GENERATED_VERSION = '(.*)'", generated)) == {LEAST["grpcio"]}
    assert set(re.findall(r"Protobuf Python Version: (.*)", generated)) == {LEAST["protobuf"]}


@pytest.mark.long
def test_an_sdist_has_the_contract_and_builds_the_same_wheel(tree: Path, wheel: Path, tmp_path: Path) -> None:
    """Who installs from sources gets the same, and has what the stubs were generated from."""
    unpack(build("sdist", tree), tmp_path)
    (sources,) = tmp_path.iterdir()
    for folder in ("protos/vibework", "protos/buf"):
        files = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.proto")}
        assert files == {path.relative_to(sources) for path in (sources / folder).rglob("*.proto")}
    assert contents(build("wheel", sources)) == contents(wheel)


def contents(wheel: Path) -> dict[str, bytes]:
    """Return the files of a wheel; the list of their hashes follows from them."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}


@pytest.mark.long
def test_the_client_installs_from_its_sources_too(tree: Path, client_wheel: Path, tmp_path: Path) -> None:
    """An sdist of what callers install builds the same wheel, without the rest of the tree."""
    unpack(build("sdist", tree / "client"), tmp_path)
    (sources,) = tmp_path.iterdir()
    assert contents(build("wheel", sources)) == contents(client_wheel)
