"""The examples: for every RPC a call by grpcurl and one by the Python client, made of one request in JSON."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from script.reference.code import Code
from script.reference.model import Contract, Method

FILE: Final = Path(__file__).with_name("examples.toml")
# By package: the client in Python, the module of its messages, and where script/server has the service.
CLIENTS: Final = {
    "vibework.users.v1": ("users", "users_v1", "127.0.0.1:50051"),
    "vibework.notifications.v1": ("notifications", "notifications_v1", "127.0.0.1:50052"),
}
# What the beginning of the page sets, before any call.
GIVEN: Final = frozenset({"NOW", "IN_AN_HOUR"})
MASK: Final = ".google.protobuf.FieldMask"
PLAIN_LIST: Final = re.compile(r"\[\s*([^\[\]{}]*?)\s*\]")
VARIABLE: Final = re.compile(r"\$([A-Z_]+)")
WIDTH: Final = 100
# Seconds after which grpcurl leaves a watch, which nothing else ends.
WATCH_SECONDS: Final = 3


class ExampleProblemError(Exception):
    """An RPC without an example, an example of none, or one with a variable that nothing has filled."""


@dataclass(frozen=True)
class Call:
    """One call: what is sent, and which variables its answer fills."""

    method: Method
    request: Mapping[str, Any]
    # Variable: path in the answer, with a number for an entry of a list.
    fills: Mapping[str, str]
    is_watch: bool
    is_list: bool


@dataclass(frozen=True)
class Example:
    """The calls that show an RPC, the last of which is the RPC's own; by grpcurl and in Python."""

    shell: str
    python: str
    needs: str


class Examples:
    """All examples, read from a file and compared with the contract."""

    def __init__(self, contract: Contract, text: str) -> None:
        """Read them. Raises ExampleProblemError."""
        told = tomllib.loads(text)
        self._contract = contract
        self._methods = {method.key: method for method in contract.methods}
        self._filled = set(GIVEN)
        begin = told.pop("begin")
        if missing := self._methods.keys() ^ told.keys():
            raise ExampleProblemError(f"without an example, or not in the contract: {sorted(missing)}")
        # The order in which pages show them.
        self.order: Final = list(told)
        self.begin: Final = self._example(begin, "")
        self._examples = {
            key: self._example([*each.get("before", ()), {"rpc": key, **each}], each.get("needs", ""))
            for key, each in told.items()
        }

    def of(self, method: Method) -> Example:
        """Return the example of an RPC."""
        return self._examples[method.key]

    def _example(self, told: list[dict[str, Any]], needs: str) -> Example:
        calls = [self._call(each) for each in told]
        shell = "\n".join(_shell(call, self._contract.messages[call.method.request]) for call in calls)
        python = "\n".join(_Python(self._contract, call).text() for call in calls)
        return Example(shell, python, needs)

    def _call(self, told: Mapping[str, Any]) -> Call:
        if unfilled := set(VARIABLE.findall(told["request"])) - self._filled:
            raise ExampleProblemError(f"{told['rpc']}: nothing before it fills {sorted(unfilled)}")
        fills = told.get("fills", {})
        self._filled |= fills.keys()
        method = self._methods[told["rpc"]]
        request, answer = (self._contract.messages[name] for name in (method.request, method.response))
        return Call(
            method,
            json.loads(told["request"]),
            fills,
            is_watch=method.streams and _has(request, "resume_token"),
            is_list=_has(request, "page_token") and _has(answer, "next_page_token"),
        )


def _has(message: DescriptorProto, name: str) -> bool:
    return any(field.name == name for field in message.field)


def _shell(call: Call, message: DescriptorProto) -> str:
    _, _, address = CLIENTS[call.method.package]
    told = dict(call.request)
    for field in message.field:
        if field.type_name == MASK and field.name in told:
            # grpcurl does not know the text that is a mask's form in JSON.
            told[field.name] = {"paths": told[field.name].split(",")}
    request = json.dumps(told, ensure_ascii=False)
    if len(request) > WIDTH:
        # Lists of texts stay on a line.
        request = PLAIN_LIST.sub(
            lambda found: f"[{' '.join(found[1].split())}]", json.dumps(told, ensure_ascii=False, indent=2)
        )
    ending = f" -max-time {WATCH_SECONDS}" if call.is_watch else ""
    kept = " | tee answer.json" if call.fills else ""
    lines = [f"grpcurl -plaintext{ending} -d @ {address} {call.method.full_name} <<END{kept}", request, "END"]
    lines += [f"{name}=$(take {path})" for name, path in call.fills.items()]
    return "\n".join(lines)


class _Python:
    def __init__(self, contract: Contract, call: Call) -> None:
        self._messages = contract.messages
        self._call = call

    def text(self) -> str:
        """Return the lines."""
        client, _, _ = CLIENTS[self._call.method.package]
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", self._call.method.name).lower()
        message = self._messages[self._call.method.request]
        arguments = [
            (f"{field.name}=", self._value(field, value)) for field, value in _fields(message, self._call.request)
        ]
        if self._call.is_watch:
            # Something to see, whatever happens meanwhile.
            arguments.append(("heartbeats=", Code("True")))
        made = Code(f"{client}.{name}(", arguments, ")")
        return "\n".join(self._lines(made))

    def _lines(self, made: Code) -> Iterator[str]:
        if self._call.is_watch:
            yield f"with {made.laid_out(taken=15)} as watch:"
            yield from ("    for event in watch:", "        print(event)", "        break")
        elif self._call.is_list and self._call.fills:
            for variable, path in self._call.fills.items():
                field = path.split(".", 2)[2]
                yield f"{variable.lower()} = next(iter({made.laid_out(taken=30)})).{field}"
        elif self._call.is_list or self._call.method.streams:
            yield f"for each in {made.laid_out(taken=13)}:"
            yield "    print(each)"
        else:
            yield f"answer = {made.laid_out(taken=9)}"
            for variable, path in self._call.fills.items():
                yield f"{variable.lower()} = answer.{path}"

    def _value(self, field: FieldDescriptorProto, value: Any) -> Code:
        if field.label == FieldDescriptorProto.LABEL_REPEATED:
            return Code("[", [("", self._single(field, each)) for each in value], "]")
        return self._single(field, value)

    def _single(self, field: FieldDescriptorProto, value: Any) -> Code:
        if special := KNOWN.get(field.type_name):
            return Code(special(value))
        if field.type == FieldDescriptorProto.TYPE_MESSAGE:
            message = self._messages[field.type_name]
            parts = [(f"{each.name}=", self._value(each, given)) for each, given in _fields(message, value)]
            return Code(f"{_name(field.type_name)}(", parts, ")")
        if field.type == FieldDescriptorProto.TYPE_ENUM:
            return Code(f"{_name(field.type_name).partition('.')[0]}.{value}")
        if field.type == FieldDescriptorProto.TYPE_BYTES:
            return Code(f"base64.b64decode({_text(value)})")
        return Code(_text(value) if isinstance(value, str) else repr(value))


def _fields(message: DescriptorProto, told: Mapping[str, Any]) -> list[tuple[FieldDescriptorProto, Any]]:
    known = {field.name: field for field in message.field}
    if unknown := told.keys() - known:
        raise ExampleProblemError(f"{message.name} has no {sorted(unknown)}")
    return [(known[name], value) for name, value in told.items()]


def _name(type_name: str) -> str:
    package = next(package for package in CLIENTS if type_name.startswith(f".{package}."))
    return f"{CLIENTS[package][1]}.{type_name.removeprefix(f'.{package}.')}"


def _text(value: str) -> str:
    if alone := VARIABLE.fullmatch(value):
        return alone[1].lower()
    quoted = json.dumps(value, ensure_ascii=False)
    filled = VARIABLE.sub(lambda found: f"{{{found[1].lower()}}}", quoted)
    return quoted if filled == quoted else f"f{filled}"


def _span(value: str) -> str:
    return f"timedelta(seconds={timedelta(seconds=float(value.removesuffix('s'))).total_seconds():g})"


# A message of google.protobuf, as the client and the constructors of messages take it.
KNOWN: Final[Mapping[str, Callable[[Any], str]]] = {
    ".google.protobuf.Timestamp": _text,
    ".google.protobuf.Duration": _span,
    MASK: lambda value: json.dumps(value.split(",")),
}
