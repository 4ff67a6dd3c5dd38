"""What an answer to bad input may be, and what a log may say of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tests.contract.fieldpaths import method_of
from tests.contract.servers import DETAILS
from tests.fuzzing.cases import Case
from tests.fuzzing.mutations import MESSAGE_BYTES
from tests.fuzzing.services import Service
from tests.fuzzing.texts import BODY, SECRET
from tests.harness.promised import promises

# How no call ends, whatever it asks for.
FAULTS: Final = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
# UNKNOWN, whoever says it, and INTERNAL where the service does.
OF_NO_ATTACK: Final = frozenset({"grpc-status 2", "grpc-status 2 with a reason", "grpc-status 13 with a reason"})
# A stream that has opened, and has nothing to say.
OPEN: Final = "OPEN"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True)
class Answer:
    """How a call ended. ``reason``: of its error; empty where it was OK, or gRPC's core answered."""

    code: str
    reason: str = ""
    problem: str = ""


def of_success(case: Case, content: bytes) -> Answer:
    """Judge an answer: every client can read it, also one that speaks JSON."""
    try:
        json_format.MessageToJson(message_factory.GetMessageClass(method_of(case.rpc).output_type).FromString(content))
    except (DecodeError, ValueError, json_format.Error) as error:
        return Answer("OK", problem=f"the answer cannot be read: {error}")
    return Answer("OK")


def of_error(case: Case, error: grpc.aio.AioRpcError) -> Answer:
    """Judge an error: its code is one that bad input may have, its reason was promised, and it repeats no secret."""
    code = error.code().name
    metadata: dict[str, Any] = dict(error.trailing_metadata() or ())
    details = metadata.get(DETAILS, b"")
    info = _info(details)
    problem = ""
    if code in FAULTS:
        problem = f"{code}: {error.details()}"
    elif not info.reason and not (code == "RESOURCE_EXHAUSTED" and is_too_large(case)):
        problem = f"{code} without a reason: {error.details()}"
    elif info.reason and info.reason not in promises()[f"/{case.rpc}"]:
        problem = f"{info.reason} was promised to nobody"
    elif SECRET.encode() in details or SECRET in (error.details() or ""):
        problem = f"{info.reason} repeats a secret"
    return Answer(code, info.reason, problem)


def is_too_large(case: Case) -> bool:
    """Say whether gRPC's core may refuse a call by itself, without details (docs/retries.md)."""
    return len(case.content) > MESSAGE_BYTES or case.mutation == "metadata"


def of_attack(ended: str) -> Answer:
    """Judge how an attack ended; of INTERNAL, what gRPC's core says of calls that it cannot read is none of ours."""
    return Answer(ended, problem=ended if ended in OF_NO_ATTACK else "")


@cache
def _info(details: bytes) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    for detail in status_pb2.Status.FromString(details).details:
        detail.Unpack(info)
    return info


def of_log(service: Service, disclosed: frozenset[str]) -> Iterator[str]:
    """Yield what the log of a service must not have said; ``disclosed``: further secrets, each 43 characters."""
    for line in service.side.log.read_text(errors="backslashreplace").splitlines():
        # The audit has what looks like an id (decision 0101), and a body may stand where an id should.
        body = BODY in line and '"event":"audit"' not in line
        if SECRET in line or body or not disclosed.isdisjoint(_TOKEN.findall(line)):
            yield f"{service.name} logged what it was sent: {line[:500]}"
    for said in service.log_lines():
        # What gRPC logs of callers who left while they were answered, and of bytes that are no text.
        if str(said.get("logger_name", "")).startswith("grpc"):
            continue
        if said.get("level") in {"error", "critical"} or said.get("event") == "unexpected error":
            yield f"{service.name} logged an error: {said}"
