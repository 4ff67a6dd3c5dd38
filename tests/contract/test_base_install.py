"""The base install: what a caller of the services gets needs grpcio and protobuf, and nothing of the servers."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("pyproject.toml", "README.md", "chassis", "migrations", "notifications_service", "protos", "users_service")
BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"

# Run with nothing on the path but the wheel, grpcio and protobuf (and what grpcio itself needs).
CALL = """
from concurrent import futures

import grpc
from vibework.errors.v1 import ErrorReason
from vibework.notifications.v1 import NotificationServiceStub
from vibework.users.v1 import (
    GetUserRequest, GetUserResponse, User, UserServiceServicer, UserServiceStub, add_UserServiceServicer_to_server,
)


class Servicer(UserServiceServicer):
    def GetUser(self, request, context):
        return GetUserResponse(user=User(id=request.id, email="ann@example.com"))


server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
add_UserServiceServicer_to_server(Servicer(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
    user = UserServiceStub(channel).GetUser(GetUserRequest(id="user_1"), timeout=10).user
    NotificationServiceStub(channel)
server.stop(None)
print(user.email, ErrorReason.Name(101))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy so that nothing is written beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, tree)
    command = [sys.executable, "-c", BUILD, str(folder)]
    built = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / built.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def base_install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel, grpcio and protobuf, and nothing else."""
    folder = tmp_path_factory.mktemp("base")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for name in ("grpcio", "protobuf", "typing_extensions"):
        for file in distribution(name).files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                target = folder / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(str(file.locate()), target)
    return folder


def test_stubs_import_and_call_with_grpcio_and_protobuf_alone(base_install: Path) -> None:
    """A caller who installs the package without extras can make a call."""
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(base_install)!r})\n{CALL}"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stdout) == (0, "ann@example.com ERROR_REASON_EMAIL_TAKEN\n"), result.stderr


def test_base_install_needs_nothing_else(wheel: Path) -> None:
    """The servers' packages are an extra, never a burden on callers."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(item for item in archive.namelist() if item.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    base = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(line.split(">")[0] for line in base) == ["grpcio", "protobuf"]


def test_wheel_carries_types_migrations_and_sources_of_the_contract(wheel: Path) -> None:
    """Callers get types and .proto files, operators the migrations."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {"vibework/users/v1/py.typed", "vibework/users/v1/user_service.proto", "vibework/users/v1/user_pb2.pyi"}
    assert wanted - names == set()
    assert [name for name in names if name.startswith("migrations/mysql/versions/")]
    assert [name for name in names if name.startswith("migrations/mongodb/")]
    assert [name for name in names if name.startswith(("tests/", "script/"))] == []
