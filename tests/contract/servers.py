"""Calling a running server by nothing but names: what grpcurl and other languages' clients do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.harness.patience import PATIENCE_SECONDS

DETAILS = "grpc-status-details-bin"

# A channel to each server, by its proto package.
Channels = dict[str, grpc.Channel]


@dataclass(frozen=True)
class Answer:
    """How a call ended: the code, and of an error the Status, its ErrorInfo and the fields it finds wrong."""

    code: str
    status: status_pb2.Status
    info: error_details_pb2.ErrorInfo
    violations: frozenset[str]
    # The reasons of the violations, and the request id in RequestInfo and in the trailing metadata.
    violated: frozenset[str] = frozenset()
    request_ids: tuple[str, ...] = ()
    # What was answered; of a stream the first message.
    response: bytes = b""


def call(channel: grpc.Channel, service: str, name: str, request: dict[str, Any]) -> Answer:
    """Call an RPC with a request in JSON and return how it ended; a stream's first message will do."""
    method: MethodDescriptor = Default().FindServiceByName(service).methods_by_name[name]
    message = json_format.ParseDict(request, message_factory.GetMessageClass(method.input_type)())
    return call_raw(channel, f"/{service}/{name}", message.SerializeToString(), streaming=method.server_streaming)


def call_raw(channel: Any, path: str, request: bytes, *, streaming: bool) -> Answer:
    """Call a method by its path with a request's bytes, as ``call`` does."""
    try:
        if streaming:
            response = next(channel.unary_stream(path)(request, timeout=PATIENCE_SECONDS))
        else:
            response = channel.unary_unary(path)(request, timeout=PATIENCE_SECONDS)
    except grpc.RpcError as error:
        return _failure(error)
    return Answer("OK", status_pb2.Status(), error_details_pb2.ErrorInfo(), frozenset(), response=response)


def _failure(error: Any) -> Answer:
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata.get(DETAILS, b""))
    info, bad, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RequestInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
        detail.Unpack(request)
    # The plain code and message must say the same as the Status.
    assert (status.code, status.message) == (error.code().value[0], error.details())
    fields = frozenset(item.field for item in bad.field_violations)
    violated = frozenset(item.reason for item in bad.field_violations)
    ids = (request.request_id, metadata.get("x-request-id", ""))
    return Answer(error.code().name, status, info, fields, violated, ids)


def reflected(channel: grpc.Channel) -> set[str]:
    """Return the services that the server says it has."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    response = next(stub.ServerReflectionInfo(iter([request]), timeout=PATIENCE_SECONDS))
    return {service.name for service in response.list_services_response.service}
