"""The load of the fault suite calls every RPC that changes something."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import vibework.notifications.v1
import vibework.users.v1  # noqa: F401 - registers the descriptors
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default

from tests.contract.requests import NOTIFICATIONS, USERS
from tests.reliability.load import lives, objects
from tests.reliability.load.stories import LEFT_OUT

# In the .proto it may be repeated, and it only reads.
READS: Final = {"SessionService/ValidateSession"}


def writing() -> set[str]:
    """Return the RPCs of both services that may change something, by their descriptors."""
    packages = {"vibework.users.v1": USERS, "vibework.notifications.v1": NOTIFICATIONS}
    services = {f"{package}.{rpc.partition('/')[0]}" for package, rpcs in packages.items() for rpc in rpcs}
    methods = [method for name in services for method in Default().FindServiceByName(name).methods]
    return {
        f"{method.containing_service.name}/{method.name}"
        for method in methods
        if method.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    }


def called() -> set[str]:
    """Return what the stories name as RPCs."""
    trees = [ast.parse(Path(str(module.__file__)).read_text()) for module in (lives, objects)]
    texts = {node.value for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and text.count("/") == 1 and "Service/" in text}


def test_every_rpc_that_writes_is_called() -> None:
    """A new RPC that changes something is called by a story, or left out with a reason."""
    assert writing() - called() - READS == set(LEFT_OUT)
    assert called() & set(LEFT_OUT) == set()
    assert all(LEFT_OUT.values())


def test_nothing_is_called_that_is_not_there() -> None:
    """What stories call is an RPC of the contract."""
    assert called() <= USERS.keys() | NOTIFICATIONS.keys()
