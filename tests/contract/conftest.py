"""Fixtures of the contract tests: the described protos, and the golden files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.contract.described import all_files, sources
from tests.contract.servers import Channels
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import threaded_server
from tests.harness.users import UsersServer

GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that accepts the contract as it is now."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")


@pytest.fixture(scope="session")
def files() -> dict[str, FileDescriptorProto]:
    """Our .proto files by name, with their comments."""
    return {name: all_files()[name] for name in sources()}


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Compare a text with the golden file of a name, or write it with ``--update-golden``."""

    def check(name: str, text: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden", default=False):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        # The command in the message is what a change that is meant needs.
        assert path.read_text() == text, f"{name} differs; if meant: pytest tests/contract --update-golden"

    return check


@pytest.fixture(scope="module")
def addresses(users_server: UsersServer, mongodb_module_database: MongoDatabase) -> Iterator[dict[str, str]]:
    """The address of each server, by its proto package."""
    with threaded_server(mongodb_module_database) as notifications:
        yield {"vibework.users.v1": users_server.address, "vibework.notifications.v1": notifications}


@pytest.fixture(scope="module")
def channels(addresses: dict[str, str]) -> Iterator[Channels]:
    """A channel to each server, by its proto package."""
    with ExitStack() as open_channels:
        yield {
            package: open_channels.enter_context(grpc.insecure_channel(address))
            for package, address in addresses.items()
        }
