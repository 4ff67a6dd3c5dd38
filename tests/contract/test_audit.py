"""The audit log of both services: what changes something or discloses a secret leaves a line, without values."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, MethodOptions
from google.protobuf.descriptor_pool import Default

import notifications_service.app
import users_service.app
from chassis.access.audited import is_audited, subjects_of_answer, subjects_of_request
from chassis.access.groups import GROUPS
from chassis.serving.lifecycle import Scope
from tests.contract.requests import REQUESTS
from tests.contract.test_documented_reasons import _notifications_settings, _users_settings
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set
from tests.harness.patience import PATIENCE_SECONDS

# The databases are away, and drivers leave sockets of attempts to connect to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
# Calls of these name nobody by an id: their requests hold a token, an address or the name of a category.
NAMELESS = {
    "SessionService/RevokeOtherSessions",
    "DeliveryService/DeleteSuppression",
    "PreferenceService/DeleteCategory",
    "PreferenceService/PutCategory",
    "PreferenceService/Unsubscribe",
}
AUDITED = sorted(rpc for rpc in REQUESTS if is_audited(rpc))
SECRET = "s3cr3t-value"


def _short(rpc: str) -> str:
    return rpc.rpartition(".")[2]


def test_what_changes_or_discloses_is_audited(files: dict[str, FileDescriptorProto]) -> None:
    """By the levels of the contract itself; what only reads, and a check of a session, is not."""
    levels = {
        f"{file.package}.{service.name}/{method.name}": method.options.idempotency_level
        for file in files.values()
        for service in file.service
        for method in service.method
    }
    for rpc, level in levels.items():
        reads = level == MethodOptions.NO_SIDE_EFFECTS and _short(rpc) not in GROUPS["secrets"]
        assert is_audited(rpc) != (reads or rpc.endswith("/ValidateSession")), rpc
    assert {f"vibework.users.v1.{rpc}" for rpc in ("UserService/ExportUser", "AccountService/GetAccountTokens")} <= set(
        AUDITED
    )


@pytest.mark.parametrize("rpc", AUDITED)
def test_a_line_can_name_whom_a_call_is_about_and_says_nothing_else(rpc: str) -> None:
    """With every text of a request and an answer set, ids come out, and nothing that stood in another field."""
    service, _, name = rpc.rpartition("/")
    method = Default().FindServiceByName(service).methods_by_name[name]
    found = [
        *subjects_of_request(rpc)(_filled(method.input_type)),
        *subjects_of_answer(rpc)(_filled(method.output_type)),
    ]
    assert set(found) <= {"id-value"}
    assert bool(found) != (_short(rpc) in NAMELESS)


def _filled(described: Descriptor, depth: int = 4) -> Any:
    """Return a message with all texts set: ids to one value, and everything else to a secret."""
    message = message_factory.GetMessageClass(described)()
    for field in described.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            is_id = re.fullmatch(r"(\w+_)?ids?", field.name) and field.name != "request_id"
            value = "id-value" if is_id else SECRET
            _put(message, field, value)
        elif field.message_type is not None and depth and not field.message_type.GetOptions().map_entry:
            inner = _filled(field.message_type, depth - 1)
            if field.is_repeated:
                getattr(message, field.name).append(inner)
            else:
                getattr(message, field.name).CopyFrom(inner)
    return message


def _put(message: Any, field: FieldDescriptor, value: str) -> None:
    if field.is_repeated:
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Call every RPC of both services, whose databases are away, as a caller with a token; return the lines by RPC."""
    folder = tmp_path_factory.mktemp("audit")
    asyncio.run(_call_all(folder))
    written = [json.loads(line) for line in (folder / "audit.log").read_text().splitlines()]
    assert len({line["rpc"] for line in written}) == len(written)
    return {line["rpc"]: line for line in written}


async def _call_all(folder: Path) -> None:
    issuer = Issuer()
    (folder / "jwks.json").write_bytes(key_set(issuer))
    access = {
        "jwks_file": folder / "jwks.json",
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "audit_log": "file",
        "audit_log_file": folder / "audit.log",
    }
    async with AsyncExitStack() as resources:
        scope = Scope(resources, asyncio.Event())
        users = await users_service.app.build(_users_settings({**access, "grpc_port": 0, "metrics_port": 0}), scope)
        notifications = await notifications_service.app.build(
            _notifications_settings({**access, "grpc_port": 0, "metrics_port": 0}), scope
        )
        for package, server in (("vibework.users.v1", users), ("vibework.notifications.v1", notifications)):
            await server.start()
            resources.push_async_callback(server.stop, 0.2)
            token = issuer.token("web")
            async with grpc.aio.insecure_channel(server.address) as channel:
                # At once, since each waits for a database that does not come.
                await asyncio.gather(*(_call(channel, rpc, token) for rpc in REQUESTS if rpc.startswith(package)))


async def _call(channel: grpc.aio.Channel, rpc: str, token: str) -> None:
    service, _, name = rpc.rpartition("/")
    method = Default().FindServiceByName(service).methods_by_name[name]
    message = json_format.ParseDict(REQUESTS[rpc][0], message_factory.GetMessageClass(method.input_type)())
    make: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    metadata = (("authorization", f"Bearer {token}"), ("x-request-id", f"of-{name}"))
    call = make(f"/{rpc}")(message.SerializeToString(), metadata=metadata, timeout=PATIENCE_SECONDS)
    try:
        await (call.read() if method.server_streaming else call)
    except grpc.aio.AioRpcError:
        return


def test_every_such_rpc_leaves_one_line_and_no_other_does(lines: dict[str, dict[str, Any]]) -> None:
    """Over the production servers of both services, whatever became of the call."""
    assert sorted(lines) == AUDITED


@pytest.mark.parametrize("rpc", AUDITED)
def test_a_line_says_who_did_what_to_whom(lines: dict[str, dict[str, Any]], rpc: str) -> None:
    """Caller, RPC, outcome and request id are there; of the request's own values nothing but ids is."""
    line = lines[rpc]
    assert (line["caller"], line["rpc"], line["request_id"]) == ("jwt:web", rpc, f"of-{rpc.rpartition('/')[2]}")
    assert line["code"]
    assert line["code"] == "OK" or line["reason"]
    request = REQUESTS[rpc][0]
    assert set(line["subjects"]) <= set(_ids(request)) | {"?"}
    named = _ids(request) & {request.get(key) for key in ("userId", "id")}
    assert named <= {*line["subjects"], request.get("id")}
    text = json.dumps({key: value for key, value in line.items() if key not in ("rpc", "subjects", "code", "reason")})
    assert [value for value in _values(request) if len(value) > 3 and value in text] == []


def _ids(request: dict[str, Any]) -> set[str]:
    return {value for key, value in _pairs(request) if re.fullmatch(r"(\w+I|i)ds?", key)}


def _values(request: dict[str, Any]) -> list[str]:
    return [value for key, value in _pairs(request) if not re.fullmatch(r"(\w+I|i)ds?", key)]


def _pairs(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _pairs(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _pairs(inner, key)
    elif isinstance(value, str):
        yield key, value
