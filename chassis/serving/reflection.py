"""Server reflection (`grpc.reflection.v1` and `v1alpha`): the services of a server, and the files that describe them.

Of our own, because grpcio-reflection has v1alpha alone (grpc#38576) and does not find the symbols of methods. Both
versions are the same on the wire, so one set of messages serves them.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from functools import cache
from typing import Any, Final

import grpc
from google.protobuf import text_format
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default, DescriptorPool
from grpc_reflection.v1alpha.reflection_pb2 import (
    DESCRIPTOR,
    ErrorResponse,
    ExtensionNumberResponse,
    FileDescriptorResponse,
    ListServiceResponse,
    ServerReflectionRequest,
    ServerReflectionResponse,
    ServiceResponse,
)

V1ALPHA: Final = "grpc.reflection.v1alpha.ServerReflection"
V1: Final = "grpc.reflection.v1.ServerReflection"

Answer = ServerReflectionResponse


class ReflectionServicer:
    """Answers what is asked about the services of these names, and about any file that the process knows."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted(services)
        self._pools = (Default(), _pool_of_v1())
        self._kinds: dict[str | None, Callable[[ServerReflectionRequest], Answer]] = {
            "list_services": self._list_services,
            "file_by_filename": lambda asked: self._file(_named, asked.file_by_filename),
            "file_containing_symbol": lambda asked: self._file(_containing_symbol, asked.file_containing_symbol),
            "file_containing_extension": lambda asked: self._file(
                _containing_extension, asked.file_containing_extension
            ),
            "all_extension_numbers_of_type": lambda asked: self._extensions(asked.all_extension_numbers_of_type),
        }

    async def ServerReflectionInfo(
        self, requests: AsyncIterable[ServerReflectionRequest], _: Any
    ) -> AsyncIterator[Answer]:
        """Answer each request of the stream."""
        async for request in requests:
            yield self.answer(request)

    def answer(self, request: ServerReflectionRequest) -> Answer:
        """Return the answer to one request; what is not there is an answer as well, and ends no stream."""
        kind = self._kinds.get(request.WhichOneof("message_request"))
        try:
            answer = _error(grpc.StatusCode.INVALID_ARGUMENT) if kind is None else kind(request)
        except KeyError:
            answer = _error(grpc.StatusCode.NOT_FOUND)
        answer.valid_host = request.host
        answer.original_request.CopyFrom(request)
        return answer

    def _list_services(self, _: ServerReflectionRequest) -> Answer:
        services = [ServiceResponse(name=name) for name in self._services]
        return Answer(list_services_response=ListServiceResponse(service=services))

    def _file(self, find: Callable[[DescriptorPool, Any], FileDescriptor], what: Any) -> Answer:
        """Return the file and all that it imports, itself first."""
        files: dict[str, bytes] = {}
        _collect(self._first(find, what), files)
        return Answer(file_descriptor_response=FileDescriptorResponse(file_descriptor_proto=files.values()))

    def _extensions(self, name: str) -> Answer:
        found = self._first(lambda pool, name: pool.FindAllExtensions(pool.FindMessageTypeByName(name)), name)
        numbers = sorted(extension.number for extension in found)
        response = ExtensionNumberResponse(base_type_name=name, extension_number=numbers)
        return Answer(all_extension_numbers_response=response)

    def _first(self, find: Callable[[DescriptorPool, Any], Any], what: Any) -> Any:
        """Return what the first pool that has it finds; ``KeyError`` where none has."""
        *others, last = self._pools
        for pool in others:
            try:
                return find(pool, what)
            except KeyError:
                continue
        return find(last, what)


def _named(pool: DescriptorPool, name: str) -> FileDescriptor:
    return pool.FindFileByName(name)


def _containing_symbol(pool: DescriptorPool, symbol: str) -> FileDescriptor:
    try:
        return pool.FindFileContainingSymbol(symbol)
    except KeyError:
        # protobuf finds messages, fields, enums and services, but not the methods of services.
        service, _, method = symbol.rpartition(".")
        found: FileDescriptor = pool.FindServiceByName(service).methods_by_name[method].containing_service.file
        return found


def _containing_extension(pool: DescriptorPool, asked: Any) -> FileDescriptor:
    extended = pool.FindMessageTypeByName(asked.containing_type)
    extension: Any = pool.FindExtensionByNumber(extended, asked.extension_number)
    found: FileDescriptor = extension.file
    return found


def _collect(file: FileDescriptor, files: dict[str, bytes]) -> None:
    if file.name not in files:
        files[file.name] = file.serialized_pb
        for imported in file.dependencies:
            _collect(imported, files)


@cache
def _pool_of_v1() -> DescriptorPool:
    """Return a pool that describes `grpc.reflection.v1`, which is v1alpha under another name."""
    v1alpha = FileDescriptorProto()
    DESCRIPTOR.CopyToProto(v1alpha)
    v1 = text_format.MessageToString(v1alpha).replace("v1alpha", "v1")
    pool = DescriptorPool()
    pool.Add(text_format.Parse(v1, FileDescriptorProto()))
    return pool


def _error(code: grpc.StatusCode) -> Answer:
    number, text = code.value
    return Answer(error_response=ErrorResponse(error_code=number, error_message=text))
