"""Renders a .proto file's descriptor as text that a person can review: one line per thing a caller relies on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

from tests.contract.described import with_rules

Path = tuple[int, ...]

# `NOT_FOUND (USER_NOT_FOUND, …)` in a comment: a status code and the reasons it is sent with.
ANSWER = re.compile(r"\b([A-Z][A-Z_]+)\s+\(([A-Z][A-Z_, \n]*[A-Z])[^)]*\)")


def render(file: FileDescriptorProto) -> str:
    """Return the whole file as text, ending in a newline."""
    comments = comments_of(file)
    lines = [f"file {file.name}", f"package {file.package}"]
    lines += [f"import {name}" for name in sorted(file.dependency)]
    lines += [f"option {field.name} = {value}" for field, value in file.options.ListFields()]
    for number, service in enumerate(file.service):
        lines += ["", *_service(service, (6, number), comments)]
    for enum in file.enum_type:
        lines += ["", *_enum(enum)]
    for message in file.message_type:
        lines += ["", *_message(message, "")]
    return "\n".join(lines) + "\n"


def comments_of(file: FileDescriptorProto) -> dict[Path, str]:
    """Return the leading comments by descriptor path, each as one line."""
    return {
        tuple(location.path): " ".join(location.leading_comments.split())
        for location in file.source_code_info.location
        if location.leading_comments
    }


def answers(comment: str) -> dict[str, list[str]]:
    """Return the status codes that a comment promises, each with its reasons."""
    found: dict[str, list[str]] = {}
    for code, reasons in ANSWER.findall(comment):
        found.setdefault(code, []).extend(reason.strip() for reason in reasons.split(","))
    return found


def _service(service: ServiceDescriptorProto, path: Path, comments: dict[Path, str]) -> Iterator[str]:
    yield f"service {service.name}"
    yield f"  any call: {_told(comments.get(path, ''))}"
    for number, method in enumerate(service.method):
        yield f"  {_signature(method)}"
        if told := _told(comments.get((*path, 2, number), "")):
            yield f"    {told}"


def _told(comment: str) -> str:
    return "; ".join(f"{code} ({', '.join(reasons)})" for code, reasons in answers(comment).items())


def _signature(method: MethodDescriptorProto) -> str:
    stream = "stream " if method.server_streaming else ""
    client = "stream " if method.client_streaming else ""
    level = MethodOptions.IdempotencyLevel.Name(method.options.idempotency_level)
    return (
        f"rpc {method.name}({client}{_short(method.input_type)}) returns ({stream}{_short(method.output_type)})"
        f" {'' if level == 'IDEMPOTENCY_UNKNOWN' else level}".rstrip()
    )


def _enum(enum: EnumDescriptorProto) -> Iterator[str]:
    yield f"enum {enum.name}"
    yield from (f"  {value.number} {value.name}{_options(value)}" for value in enum.value)


def _message(message: DescriptorProto, outer: str) -> Iterator[str]:
    name = f"{outer}{message.name}"
    yield f"message {name}{_options(message)}"
    for number, oneof in enumerate(message.oneof_decl):
        if not oneof.name.startswith("_"):
            yield f"  oneof {oneof.name}: {_members(message.field, number)}{_options(oneof)}"
    yield from (f"  {_field(field)}" for field in message.field)
    for nested in message.nested_type:
        yield from _message(nested, f"{name}.")
    for enum in message.enum_type:
        yield from _enum(enum)


def _members(fields: Sequence[FieldDescriptorProto], oneof: int) -> str:
    return ", ".join(field.name for field in fields if field.HasField("oneof_index") and field.oneof_index == oneof)


def _field(field: FieldDescriptorProto) -> str:
    label = "repeated " if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    label = "optional " if field.proto3_optional else label
    kind = _short(field.type_name) or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return f"{field.number} {field.name}: {label}{kind}{_options(field)}"


def _options(described: Message) -> str:
    options = described.options  # type: ignore[attr-defined]  # every descriptor but oneof's placeholder has them
    text = text_format.MessageToString(with_rules(options), as_one_line=True)
    return f"  [{text.strip()}]" if text else ""


def _short(full_name: str) -> str:
    return full_name.removeprefix(".")
