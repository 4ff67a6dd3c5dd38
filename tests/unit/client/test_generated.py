"""The generated methods: one for each RPC, with every field of its request, in both kinds of clients alike."""

from __future__ import annotations

import inspect
import re
from typing import Any, Final

import pytest
from google.protobuf.descriptor_pool import Default
from vibework.client import Notifications, Users, aio
from vibework.client._methods import Method
from vibework.client._settings import Settings

SERVICES: Final = {
    Users: ("UserService", "SessionService", "AccountService", "VerificationService"),
    Notifications: ("NotificationService", "DeliveryService", "PreferenceService"),
}
TWINS: Final = {Users: aio.Users, Notifications: aio.Notifications}
RPCS: Final = [
    (client, method)
    for client, names in SERVICES.items()
    for name in names
    for method in Default()
    .FindServiceByName(f"vibework.{'users' if client is Users else 'notifications'}.v1.{name}")
    .methods
]
OURS: Final = {"timeout", "relist", "give_up_after", "heartbeats"}


def snake(name: str) -> str:
    """Return the name of a method."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


@pytest.mark.parametrize(("client", "rpc"), RPCS, ids=lambda each: getattr(each, "name", ""))
def test_every_field_of_every_rpc_can_be_given(client: Any, rpc: Any) -> None:
    """What the contract takes, both kinds of clients take under the same names, and say what it is."""
    blocking, asynchronous = (getattr(each, snake(rpc.name)) for each in (client, TWINS[client]))
    arguments = inspect.signature(blocking).parameters
    assert arguments.keys() == inspect.signature(asynchronous).parameters.keys()
    fields = {field.name for field in rpc.input_type.fields}
    # Pages are turned by the pager.
    left_out = {"page_token"} if "next_page_token" in rpc.output_type.fields_by_name else set()
    assert arguments.keys() - {"self"} - OURS == fields - left_out
    for name in arguments.keys() - {"self"} - OURS:
        assert f"{name}: " in blocking.__doc__


class Asked(Exception):
    """A call was about to be made; holds its method and request."""

    def __init__(self, method: Method, request: Any) -> None:
        super().__init__()
        self.method = method
        self.request = request


@pytest.mark.parametrize(("client", "rpc"), RPCS, ids=lambda each: getattr(each, "name", ""))
def test_every_method_makes_its_own_request(client: Any, rpc: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call without arguments reaches the RPC that it is named for, whose request it fills."""

    def asked(_: Any, method: Method, request: Any, *__: Any) -> None:
        raise Asked(method, request)

    monkeypatch.setattr("vibework.client._blocking.Client._once", asked)
    monkeypatch.setattr("vibework.client._blocking._Stream.__init__", lambda _, *given: asked(*given[:3]))
    made = getattr(client(Settings.of("127.0.0.1:1")), snake(rpc.name))
    with pytest.raises(Asked) as call:
        # Streams and lists call when they are read.
        list(made())
    assert call.value.method.name == rpc.name
    assert call.value.request.DESCRIPTOR is rpc.input_type
