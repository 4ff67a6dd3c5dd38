"""Reflection as callers' tools use it: in both versions, of services, methods, messages and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.reflection_pb2 import (
    ExtensionRequest,
    ServerReflectionRequest,
    ServerReflectionResponse,
)

from tests.unit.chassis.conftest import Running, Serve

V1: Final = "grpc.reflection.v1.ServerReflection"
V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
SESSIONS: Final = "vibework.users.v1.SessionService"
VALIDATE: Final = f"{SESSIONS}.ValidateSession"
FILE: Final = "vibework/users/v1/session_service.proto"

each_version = pytest.mark.parametrize("version", [V1, V1ALPHA])


def opened(running: Running, version: str) -> Any:
    """Open a stream on which nothing has been asked yet."""
    channel: Any = running.channel
    return channel.stream_stream(
        f"/{version}/ServerReflectionInfo",
        request_serializer=ServerReflectionRequest.SerializeToString,
        response_deserializer=ServerReflectionResponse.FromString,
    )()


async def ask(running: Running, version: str, *requests: ServerReflectionRequest) -> list[ServerReflectionResponse]:
    """Send the requests over one stream, each after the answer to the one before, and return the answers."""
    call = opened(running, version)
    answers = []
    for request in requests:
        await call.write(request)
        answers.append(await call.read())
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    return answers


def pool_of(files: Sequence[bytes]) -> DescriptorPool:
    """Return a pool of an answer's files, as a tool puts it together that has no .proto files."""
    given = {file.name: file for file in map(FileDescriptorProto.FromString, files)}
    pool = DescriptorPool()

    def add(file: FileDescriptorProto) -> None:
        for name in file.dependency:
            add(given[name])
        pool.Add(file)

    for file in given.values():
        add(file)
    return pool


def symbol(name: str) -> ServerReflectionRequest:
    """Return the request for the file that declares a name."""
    return ServerReflectionRequest(file_containing_symbol=name)


@each_version
async def test_lists_the_services(serve: Serve, version: str) -> None:
    """`grpcurl list` needs no .proto files."""
    for everything in ("", "*"):
        (answer,) = await ask(await serve(), version, ServerReflectionRequest(list_services=everything))
        names = [item.name for item in answer.list_services_response.service]
        assert {SESSIONS, "grpc.health.v1.Health", V1, V1ALPHA} <= set(names)
        assert names == sorted(names)


@each_version
async def test_a_call_by_grpcurl(serve: Serve, version: str) -> None:
    """grpcurl asks for the service, puts a request together, and asks for extensions and for details of an error."""
    extended = "google.protobuf.FieldOptions"
    service, numbers, details = await ask(
        await serve(),
        version,
        symbol(SESSIONS),
        ServerReflectionRequest(all_extension_numbers_of_type=extended),
        symbol("google.rpc.ErrorInfo"),
    )
    files = service.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(files[0]).name == FILE
    method = pool_of(files).FindServiceByName(SESSIONS).methods_by_name["ValidateSession"]
    assert method.input_type.full_name == "vibework.users.v1.ValidateSessionRequest"
    assert numbers.all_extension_numbers_response.base_type_name == extended
    pool_of(details.file_descriptor_response.file_descriptor_proto).FindMessageTypeByName("google.rpc.ErrorInfo")


@each_version
async def test_a_call_by_ghz(serve: Serve, version: str) -> None:
    """ghz asks for the method itself, which protobuf does not find among its symbols."""
    (answer,) = await ask(await serve(), version, symbol(VALIDATE))
    files = answer.file_descriptor_response.file_descriptor_proto
    assert VALIDATE in {f"{SESSIONS}.{method.name}" for method in pool_of(files).FindServiceByName(SESSIONS).methods}


@each_version
async def test_a_call_by_buf(serve: Serve, version: str) -> None:
    """`buf curl` asks for the service, and for files by their names."""
    listed, service, file = await ask(
        await serve(),
        version,
        ServerReflectionRequest(list_services="*"),
        symbol(SESSIONS),
        ServerReflectionRequest(file_by_filename=FILE),
    )
    assert SESSIONS in {item.name for item in listed.list_services_response.service}
    assert service.file_descriptor_response == file.file_descriptor_response


@pytest.mark.parametrize(
    "name",
    [
        "vibework.users.v1.ValidateSessionRequest",
        "vibework.users.v1.ValidateSessionRequest.session_token",
        "vibework.users.v1.RevokeSessionRequest.lookup",
        SESSIONS,
        VALIDATE,
    ],
)
async def test_every_kind_of_symbol_is_found(serve: Serve, name: str) -> None:
    """Messages, fields, oneofs, services and methods are found by their full names."""
    (answer,) = await ask(await serve(), V1, symbol(name))
    (first, *_) = answer.file_descriptor_response.file_descriptor_proto
    assert FileDescriptorProto.FromString(first).name == FILE


@pytest.mark.parametrize("version", [V1, V1ALPHA, "grpc.health.v1.Health"])
async def test_describes_what_serves_it(serve: Serve, version: str) -> None:
    """Every service of the list can be described, reflection of either version too."""
    (answer,) = await ask(await serve(), version if version != "grpc.health.v1.Health" else V1, symbol(version))
    pool_of(answer.file_descriptor_response.file_descriptor_proto).FindServiceByName(version)


@each_version
async def test_what_is_not_there_ends_no_stream(serve: Serve, version: str) -> None:
    """Who mistypes a name is told so, and can ask again on the same stream."""
    asked = [
        symbol("vibework.users.v1.SessionService.NoSuchMethod"),
        symbol("vibework.users.v1.NoSuchMessage"),
        symbol(""),
        symbol("."),
        symbol(SESSIONS + "\0"),
        symbol("." + SESSIONS),
        ServerReflectionRequest(file_by_filename="no/such.proto"),
        ServerReflectionRequest(all_extension_numbers_of_type="no.such.Message"),
        ServerReflectionRequest(
            file_containing_extension=ExtensionRequest(
                containing_type="google.protobuf.FieldOptions", extension_number=999_999
            )
        ),
        ServerReflectionRequest(
            file_containing_extension=ExtensionRequest(containing_type="no.such.Message", extension_number=-1)
        ),
    ]
    *answers, last = await ask(await serve(), version, *asked, symbol(SESSIONS))
    assert [answer.error_response.error_code for answer in answers] == [grpc.StatusCode.NOT_FOUND.value[0]] * len(asked)
    assert last.HasField("file_descriptor_response")


@each_version
async def test_an_answer_repeats_what_it_answers(serve: Serve, version: str) -> None:
    """A caller that asks several things at once can tell the answers apart; asking nothing is an error."""
    asked = ServerReflectionRequest(host="users.example", file_containing_symbol=SESSIONS)
    empty, answer = await ask(await serve(), version, ServerReflectionRequest(), asked)
    assert empty.error_response.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert (answer.original_request, answer.valid_host) == (asked, "users.example")


async def test_rules_come_encoded_and_without_their_import(serve: Serve) -> None:
    """What is described can be put together without protovalidate, and has its rules for who knows them."""
    (answer,) = await ask(await serve(), V1, symbol(SESSIONS))
    files = [FileDescriptorProto.FromString(item) for item in answer.file_descriptor_response.file_descriptor_proto]
    assert "buf/validate/validate.proto" not in {file.name for file in files}
    (token,) = (
        field
        for message in files[0].message_type
        for field in message.field
        if (message.name, field.name) == ("ValidateSessionRequest", "session_token")
    )
    assert b"\xbaH" in token.options.SerializeToString()  # the tag of extension 1159, a message


@each_version
async def test_can_be_turned_off(serve: Serve, version: str) -> None:
    """A deployment that must not describe itself does not."""
    running = await serve(reflection_enabled=False)
    # Nothing is written: grpc.aio calls it INTERNAL where a server has refused meanwhile.
    assert await opened(running, version).code() is grpc.StatusCode.UNIMPLEMENTED
