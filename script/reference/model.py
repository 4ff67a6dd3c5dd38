"""The contract as a reader of the reference meets it: services with their RPCs, messages and enums, by descriptors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from script.reference.rules import Rules

OWN: Final = "vibework."
ERRORS: Final = "vibework.errors.v1"

Path = tuple[int, ...]
Comments = Mapping[Path, str]


@dataclass(frozen=True)
class Field:
    """A field of a message."""

    name: str
    number: int
    # As written in a .proto file, but the name of a message or an enum without its package.
    kind: str
    # Full name of the message or the enum; empty for a scalar.
    target: str
    comment: str
    limits: list[str]
    oneof: str
    secret: bool


@dataclass(frozen=True)
class Type:
    """A message, or an enum, whose values are its fields."""

    name: str
    full_name: str
    comment: str
    is_enum: bool
    fields: list[Field]
    limits: list[str]


@dataclass(frozen=True)
class Method:
    """An RPC."""

    name: str
    service: str
    package: str
    comment: str
    request: str
    response: str
    streams: bool
    repeatable: str

    @property
    def key(self) -> str:
        """Its name among all RPCs: `UserService/GetUser`."""
        return f"{self.service}/{self.name}"

    @property
    def full_name(self) -> str:
        """The name to call it by."""
        return f"{self.package}.{self.key}"


@dataclass(frozen=True)
class Service:
    """A gRPC service."""

    name: str
    package: str
    comment: str
    methods: list[Method]


@dataclass(frozen=True)
class Page:
    """What one .proto file declares, or several of one package that declare no service."""

    name: str
    title: str
    package: str
    services: list[Service] = field(default_factory=list)
    types: list[Type] = field(default_factory=list)


@dataclass(frozen=True)
class Contract:
    """All pages, and the messages by full name for whoever writes examples."""

    pages: list[Page]
    messages: Mapping[str, DescriptorProto]
    reasons: list[tuple[str, str]]

    @property
    def services(self) -> list[Service]:
        """Return all services."""
        return [service for page in self.pages for service in page.services]

    @property
    def methods(self) -> list[Method]:
        """Return all RPCs."""
        return [method for service in self.services for method in service.methods]


def read(files: FileDescriptorSet, repeats: Mapping[str, str]) -> Contract:
    """Return the contract of files, which come with comments and with the declaration of the rules.

    ``repeats``: whether an RPC may be repeated, by its key.
    """
    own = [file for file in files.file if file.package.startswith(OWN)]
    return _Reader(own, Rules(files), repeats).contract()


class _Reader:
    def __init__(self, files: list[FileDescriptorProto], rules: Rules, repeats: Mapping[str, str]) -> None:
        self._files = files
        self._rules = rules
        self._repeats = repeats
        self._messages = {name: message for file in files for name, message in _messages(file)}
        self._enums = {f".{file.package}.{enum.name}": enum for file in files for enum in file.enum_type}

    def contract(self) -> Contract:
        """Read all files."""
        pages: dict[str, Page] = {}
        reasons: list[tuple[str, str]] = []
        for file in self._files:
            comments = _comments(file)
            if file.package == ERRORS:
                reasons = _reasons(file, comments)
                continue
            page = pages.setdefault(_page_name(file), _page(file))
            page.services.extend(self._services(file, comments))
            page.types.extend(self._types(file, comments))
        for page in pages.values():
            page.types.sort(key=lambda each: each.name)
        return Contract(list(pages.values()), self._messages, reasons)

    def _services(self, file: FileDescriptorProto, comments: Comments) -> Iterator[Service]:
        for place, service in enumerate(file.service):
            methods = [
                self._method(file, service, method, comments.get((6, place, 2, number), ""))
                for number, method in enumerate(service.method)
            ]
            yield Service(service.name, file.package, comments.get((6, place), ""), methods)

    def _method(
        self, file: FileDescriptorProto, service: ServiceDescriptorProto, method: MethodDescriptorProto, comment: str
    ) -> Method:
        return Method(
            method.name,
            service.name,
            file.package,
            comment,
            method.input_type,
            method.output_type,
            method.server_streaming,
            self._repeats[f"{service.name}/{method.name}"],
        )

    def _types(self, file: FileDescriptorProto, comments: Comments) -> Iterator[Type]:
        for place, enum in enumerate(file.enum_type):
            yield _enum(enum, f".{file.package}.", (5, place), comments)
        for place, message in enumerate(file.message_type):
            yield from self._message(message, f".{file.package}.", "", (4, place), comments)

    def _message(
        self, message: DescriptorProto, package: str, outer: str, path: Path, comments: Comments
    ) -> Iterator[Type]:
        name = f"{outer}{message.name}"
        fields = [
            self._field(message, each, comments.get((*path, 2, number), ""))
            for number, each in enumerate(message.field)
        ]
        limits = self._rules.of("message", message.options)
        for number, oneof in enumerate(message.oneof_decl):
            if self._rules.of("oneof", oneof.options):
                members = [f"`{each.name}`" for each in message.field if _in_oneof(each, number)]
                limits.append(f"exactly one of {', '.join(members)}")
        yield Type(name, f"{package}{name}", comments.get(path, ""), is_enum=False, fields=fields, limits=limits)
        for number, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, package, f"{name}.", (*path, 3, number), comments)

    def _field(self, message: DescriptorProto, each: FieldDescriptorProto, comment: str) -> Field:
        enum = self._enums.get(each.type_name)
        names = {value.number: value.name for value in enum.value} if enum else None
        oneof = ""
        if each.HasField("oneof_index") and not each.proto3_optional:
            oneof = message.oneof_decl[each.oneof_index].name
        return Field(
            each.name,
            each.number,
            self._kind(each),
            self._target(each),
            comment,
            self._rules.of("field", each.options, names),
            oneof,
            each.options.debug_redact,
        )

    def _kind(self, each: FieldDescriptorProto) -> str:
        if entry := self._map(each):
            key, value = entry.field
            return f"map<{_base(key)}, {_base(value)}>"
        label = "repeated " if each.label == FieldDescriptorProto.LABEL_REPEATED else ""
        return f"{'optional ' if each.proto3_optional else label}{_base(each)}"

    def _target(self, each: FieldDescriptorProto) -> str:
        """Return the name of a type that a page shows, which reasons are not as."""
        is_shown = each.type_name in self._messages or each.type_name in self._enums
        is_apart = self._map(each) or each.type_name.startswith(f".{ERRORS}.")
        return each.type_name if is_shown and not is_apart else ""

    def _map(self, each: FieldDescriptorProto) -> DescriptorProto | None:
        entry = self._messages.get(each.type_name)
        return entry if entry is not None and entry.options.map_entry else None


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    waiting = [(f".{file.package}.{message.name}", message) for message in file.message_type]
    while waiting:
        name, message = waiting.pop()
        yield name, message
        waiting += [(f"{name}.{nested.name}", nested) for nested in message.nested_type]


def _comments(file: FileDescriptorProto) -> Comments:
    return {tuple(place.path): place.leading_comments for place in file.source_code_info.location}


def _page_name(file: FileDescriptorProto) -> str:
    return PurePosixPath(file.name).stem if file.service else f"{file.package.split('.')[1]}_types"


def _page(file: FileDescriptorProto) -> Page:
    title = file.service[0].name if file.service else f"Types of {file.package}"
    return Page(_page_name(file), title, file.package)


def _reasons(file: FileDescriptorProto, comments: Comments) -> list[tuple[str, str]]:
    """Return the name of each reason that is sent, and its comment."""
    [enum] = file.enum_type
    return [
        (value.name.removeprefix("ERROR_REASON_"), comments.get((5, 0, 2, place), ""))
        for place, value in enumerate(enum.value)
        if value.number
    ]


def _enum(enum: EnumDescriptorProto, package: str, path: Path, comments: Comments) -> Type:
    values = [
        Field(value.name, value.number, "", "", comments.get((*path, 2, number), ""), [], "", secret=False)
        for number, value in enumerate(enum.value)
    ]
    return Type(enum.name, f"{package}{enum.name}", comments.get(path, ""), is_enum=True, fields=values, limits=[])


def _in_oneof(each: FieldDescriptorProto, number: int) -> bool:
    return each.HasField("oneof_index") and each.oneof_index == number


def _base(each: FieldDescriptorProto) -> str:
    if each.type_name:
        parts = each.type_name.split(".")
        return ".".join(part for part in parts if part[:1].isupper())
    return FieldDescriptorProto.Type.Name(each.type).removeprefix("TYPE_").lower()
