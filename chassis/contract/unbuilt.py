"""Unbuilt fields: parts of a request that the contract has and the server does not act on yet.

Nothing that a caller asks for is passed over in silence: who sets such a field hears NOT_IMPLEMENTED, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from chassis.errors import NotImplementedYet

# The fields that are not built, by the type of the message that has them.
UnbuiltFields = Mapping[type[Message], Collection[str]]
Refuse = Callable[[Message], None]
# Returns the path of the first such field that is set in a message.
_Find = Callable[[Any], str | None]


def refusal(request_class: type[Message], unbuilt: UnbuiltFields) -> Refuse | None:
    """Return a check that raises NotImplementedYet for a request that sets such a field; None: it has none."""
    find = _finder(request_class.DESCRIPTOR, {kind.DESCRIPTOR.full_name: names for kind, names in unbuilt.items()})
    if find is None:
        return None

    def refuse(request: Message) -> None:
        if (path := find(request)) is not None:
            raise NotImplementedYet(path)

    return refuse


def _finder(message: Any, unbuilt: Mapping[str, Collection[str]]) -> _Find | None:
    finders = [*_own(message, unbuilt.get(message.full_name, ())), *_below(message, unbuilt)]
    if not finders:
        return None
    if len(finders) == 1:
        return finders[0]

    def find(values: Any) -> str | None:
        for one in finders:
            if (path := one(values)) is not None:
                return path
        return None

    return find


def _own(message: Any, names: Collection[str]) -> Iterator[_Find]:
    for name in names:
        yield _set(message.fields_by_name[name])


def _set(field: FieldDescriptor) -> _Find:
    name = field.name
    if field.has_presence:
        return lambda values: name if values.HasField(name) else None
    return lambda values: name if getattr(values, name) else None


def _below(message: Any, unbuilt: Mapping[str, Collection[str]]) -> Iterator[_Find]:
    for field in message.fields:
        inner = field.message_type
        # Only our own messages: those of Google hold themselves (`google.protobuf.Value`).
        if inner is None or not inner.full_name.startswith("vibework."):
            continue
        if (find := _finder(inner, unbuilt)) is not None:
            yield _in_each(field.name, find) if field.is_repeated else _in_one(field.name, find)


def _in_one(name: str, find: _Find) -> _Find:
    def find_below(values: Any) -> str | None:
        path = find(getattr(values, name)) if values.HasField(name) else None
        return None if path is None else f"{name}.{path}"

    return find_below


def _in_each(name: str, find: _Find) -> _Find:
    def find_below(values: Any) -> str | None:
        for number, each in enumerate(getattr(values, name)):
            if (path := find(each)) is not None:
                return f"{name}[{number}].{path}"
        return None

    return find_below
