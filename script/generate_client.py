"""Generates what callers of the pair write most: a method for each RPC, and an exception for each reason.

Both come from the descriptors, with the comments of the .proto files as docstrings, so that neither is kept by hand.
``script/generate`` runs it.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

FOLDER: Final = Path("vibework/client/_generated")
WIDTH: Final = 120
# By proto package: the module of generated methods, and the alias of the package.
PACKAGES: Final = {
    "vibework.users.v1": "users",
    "vibework.notifications.v1": "notifications",
    "vibework.errors.v1": "errors",
}
SCALARS: Final = {
    FieldDescriptorProto.TYPE_STRING: "str",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
    FieldDescriptorProto.TYPE_INT32: "int",
    FieldDescriptorProto.TYPE_INT64: "int",
    FieldDescriptorProto.TYPE_UINT32: "int",
    FieldDescriptorProto.TYPE_UINT64: "int",
    FieldDescriptorProto.TYPE_DOUBLE: "float",
    FieldDescriptorProto.TYPE_FLOAT: "float",
}
# What a caller may write for a message of google.protobuf, beside the message.
KNOWN: Final = {
    ".google.protobuf.Timestamp": "datetime | Timestamp",
    ".google.protobuf.Duration": "timedelta | Duration",
    ".google.protobuf.FieldMask": "Sequence[str] | FieldMask",
    ".google.protobuf.Struct": "Mapping[str, object] | Struct",
}
IMPORTS: Final = """
from __future__ import annotations

from collections.abc import {stream}, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

import vibework.notifications.v1 as _notifications
import vibework.users.v1 as _users
from vibework.client.{base} import Client, Pager, Relist, Watch
from vibework.client._methods import methods_of
"""

Comments = Mapping[tuple[int, ...], str]
# A message, its name in Python, and the comments of its fields.
Message = tuple[DescriptorProto, str, dict[str, str]]
# By full name.
Messages = Mapping[str, Message]


def write(target: Path, files: FileDescriptorSet, header: str) -> None:
    """Write the modules below ``target``; each begins with ``header``."""
    folder = target / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(f'{header}"""What script/generate makes of the contract for the client."""\n')
    own = [file for file in files.file if file.package in PACKAGES]
    messages = dict(_all_messages(own))
    for name in ("users", "notifications"):
        services = [file for file in own if PACKAGES[file.package] == name and file.service]
        for flavour in (BLOCKING, ASYNCIO):
            text = header + _module(services, messages, flavour, name)
            (folder / f"{flavour.prefix}{name}.py").write_text(text)
    reasons = next(file for file in own if PACKAGES[file.package] == "errors")
    (folder / "reasons.py").write_text(header + _reasons(reasons))


@dataclass(frozen=True)
class Flavour:
    """How the methods of one kind of client are written."""

    # Of the modules' names.
    prefix: str
    # The module with what they are built on.
    base: str
    definition: str
    call: str
    stream: str


BLOCKING: Final = Flavour("", "_blocking", "def", "self._unary", "Iterator")
ASYNCIO: Final = Flavour("aio_", "_asyncio", "async def", "await self._unary", "AsyncIterator")


def _module(files: list[FileDescriptorProto], messages: Messages, flavour: Flavour, name: str) -> str:
    found = [(file, index, service) for file in files for index, service in enumerate(file.service)]
    services = sorted(found, key=lambda each: each[2].name)
    names = "".join(f'    "{file.package}.{service.name}",\n' for file, _, service in services)
    lines = [
        f'"""The RPCs of the {name} service as methods."""',
        IMPORTS.format(base=flavour.base, stream=flavour.stream),
        f"METHODS: Final = methods_of(\n{names})\n\n",
        f"class {name.capitalize()}Calls(Client):",
        f'    """The RPCs of the {name} service. Each may raise any exception of ``vibework.client.errors``."""\n',
    ]
    for file, index, service in services:
        comments = _comments(file)
        for position, method in enumerate(service.method):
            comment = comments.get((6, index, 2, position), "")
            lines.append(_method(method, comment, messages, flavour, f"{file.package}.{service.name}"))
    return "\n".join(lines).rstrip() + "\n"


def _method(method: MethodDescriptorProto, comment: str, messages: Messages, flavour: Flavour, service: str) -> str:
    request, _, docs = messages[method.input_type]
    response, response_type, _ = messages[method.output_type]
    is_list = _is_list(request, response)
    fields = [field for field in request.field if not (is_list and field.name == "page_token")]
    arguments = [f"{field.name}: {_type(field, messages)} | None = None" for field in fields]
    arguments += _further(method, request)
    given = textwrap.wrap(", ".join(f'"{field.name}": {field.name}' for field in fields), WIDTH - 16)
    kind, definition, call = _call(method, request, response, response_type, flavour)
    parts = [f'METHODS["{service}/{method.name}"]', "{" + "\n                ".join(given) + "}", *call[1:]]
    lines = [
        f"    {definition} {_snake(method.name)}(",
        "        self,",
        "        *,",
        *(f"        {argument}," for argument in arguments),
        f"    ) -> {kind}:",
        _docstring(comment, fields, docs, indent=8).rstrip("\n"),
        f"        return {call[0]}(",
        *(f"            {part}," for part in parts),
        "        )",
    ]
    return "\n".join(lines) + "\n"


def _call(
    method: MethodDescriptorProto, request: DescriptorProto, response: DescriptorProto, answer: str, flavour: Flavour
) -> tuple[str, str, list[str]]:
    """Return the type of the result, the words that define the method, and the function called, with its arguments."""
    if _is_watch(method, request):
        options = [f"{name}={name}" for name in ("relist", "give_up_after", "heartbeats")]
        return f"Watch[{answer}]", "def", ["self._watch", answer, *options]
    if method.server_streaming:
        return f"{flavour.stream}[{answer}]", "def", ["self._stream", answer, "timeout"]
    if _is_list(request, response):
        item = next(field for field in response.field if field.label == FieldDescriptorProto.LABEL_REPEATED)
        kind = _python(item.type_name)
        return f"Pager[{kind}, {answer}]", "def", ["self._pager", answer, kind, f'"{item.name}"', "timeout"]
    return answer, flavour.definition, [flavour.call, answer, "timeout"]


def _further(method: MethodDescriptorProto, request: DescriptorProto) -> list[str]:
    if _is_watch(method, request):
        return ["relist: Relist | None = None", "give_up_after: float | None = None", "heartbeats: bool = False"]
    return ["timeout: float | None = None"]


def _is_watch(method: MethodDescriptorProto, request: DescriptorProto) -> bool:
    return method.server_streaming and any(field.name == "resume_token" for field in request.field)


def _is_list(request: DescriptorProto, response: DescriptorProto) -> bool:
    return any(field.name == "page_token" for field in request.field) and any(
        field.name == "next_page_token" for field in response.field
    )


def _type(field: FieldDescriptorProto, messages: Messages) -> str:
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        if (entry := messages.get(field.type_name)) and entry[0].options.map_entry:
            key, value = entry[0].field
            return f"Mapping[{_single(key)}, {_single(value)}]"
        return f"Iterable[{_single(field)}]"
    return _single(field)


def _single(field: FieldDescriptorProto) -> str:
    if field.type_name in KNOWN:
        return KNOWN[field.type_name]
    if field.type == FieldDescriptorProto.TYPE_MESSAGE:
        return _python(field.type_name)
    if field.type == FieldDescriptorProto.TYPE_ENUM:
        return f"{_python(field.type_name)}.ValueType"
    return SCALARS[field.type]


def _python(type_name: str) -> str:
    for package, alias in PACKAGES.items():
        if type_name.startswith(f".{package}."):
            return f"_{alias}.{type_name.removeprefix(f'.{package}.')}"
    raise ValueError(type_name)


def _all_messages(
    files: list[FileDescriptorProto],
) -> Iterator[tuple[str, Message]]:
    """Yield every message by its full name, with its name in Python and the comments of its fields."""
    for file in files:
        comments = _comments(file)
        for index, message in enumerate(file.message_type):
            yield from _nested(message, f".{file.package}.{message.name}", comments, (4, index))


def _nested(
    message: DescriptorProto, name: str, comments: Comments, path: tuple[int, ...]
) -> Iterator[tuple[str, Message]]:
    docs = {field.name: comments.get((*path, 2, index), "") for index, field in enumerate(message.field)}
    yield name, (message, _python(name), docs)
    for index, inner in enumerate(message.nested_type):
        yield from _nested(inner, f"{name}.{inner.name}", comments, (*path, 3, index))


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location}


def _docstring(comment: str, fields: list[FieldDescriptorProto], docs: Mapping[str, str], *, indent: int) -> str:
    width, margin = WIDTH - 4 - indent, " " * indent
    paragraphs = [" ".join(part.split()) for part in comment.strip().split("\n\n")]
    lines = [line for part in paragraphs for line in [*textwrap.wrap(part, width), ""]]
    if fields:
        lines.append("Arguments:")
        for field in fields:
            said = " ".join(docs[field.name].split()) or "As in the message."
            lines += textwrap.wrap(f"{field.name}: {said}", width, initial_indent="  ", subsequent_indent="    ")
    body = "\n".join(f"{margin}{line}".rstrip() for line in lines).strip().replace("\\", "\\\\")
    end = f"\n{margin}" if "\n" in body else ""
    return f'{margin}"""{body}{end}"""\n'


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def _reasons(file: FileDescriptorProto) -> str:
    """Write an exception for each reason."""
    (enum,) = file.enum_type
    comments = _comments(file)
    lines = [
        '"""An exception for each reason of ``vibework.errors.v1.ErrorReason``."""\n',
        "from __future__ import annotations\n",
        "from typing import Final\n",
        "from vibework.client._failure import VibeworkError\n",
    ]
    classes = {}
    for index, value in enumerate(enum.value):
        if value.number == 0:
            continue
        reason = value.name.removeprefix("ERROR_REASON_")
        name = "".join(word.capitalize() for word in reason.split("_"))
        classes[reason] = name
        body = _docstring(comments.get((5, 0, 2, index), ""), [], {}, indent=4)
        lines.append(f"\nclass {name}(VibeworkError):\n{body}")
    table = "".join(f'    "{reason}": {name},\n' for reason, name in classes.items())
    exported = "".join(f'    "{name}",\n' for name in sorted(classes.values()))
    lines.append(f"\nBY_REASON: Final[dict[str, type[VibeworkError]]] = {{\n{table}}}\n\n__all__ = [\n{exported}]\n")
    return "\n".join(lines)
