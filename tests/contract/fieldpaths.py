"""Fields of requests by their path: what a generated test changes, one at a time, in a request that is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default

Path = tuple[FieldDescriptor, ...]

# Types of `google.protobuf` that stand for one value.
WHOLE = frozenset(
    {"google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask", "google.protobuf.Struct"}
)


@dataclass(frozen=True)
class FieldPath:
    """A field of a request, at any depth; of a list of messages, that of the first."""

    fields: Path

    @property
    def kind(self) -> str:
        """The type of the field: a message's full name, or a word such as `int32`."""
        field = self.fields[-1]
        return field.message_type.full_name if field.message_type is not None else KINDS[field.type]

    @property
    def name(self) -> str:
        """The path as violations name it."""
        *before, last = self.fields
        return ".".join([*(f"{field.name}[0]" if field.is_repeated else field.name for field in before), last.name])

    def holder(self, request: Any) -> Any:
        """Return the message that has the field, made where it is not there yet."""
        for field in self.fields[:-1]:
            request = getattr(request, field.name)
            if field.is_repeated:
                request = request[0] if len(request) else request.add()
            else:
                request.SetInParent()
        return request

    def put(self, request: Any, value: Any) -> None:
        """Set the field; a list to one element."""
        holder, field = self.holder(request), self.fields[-1]
        if field.is_repeated:
            holder.ClearField(field.name)
            getattr(holder, field.name).append(value)
        elif field.message_type is not None:
            getattr(holder, field.name).CopyFrom(value)
        else:
            setattr(holder, field.name, value)


KINDS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in vars(FieldDescriptor)
    if name.startswith("TYPE_")
}


def method_of(rpc: str) -> MethodDescriptor:
    """Return the descriptor of an RPC, named as `package.Service/Method`."""
    service, _, name = rpc.partition("/")
    return Default().FindServiceByName(service).methods_by_name[name]


def field_paths(descriptor: Descriptor, above: Path = ()) -> Iterator[FieldPath]:
    """Yield every field of a request that holds one value, at every depth; a map holds none."""
    for field in descriptor.fields:
        path = (*above, field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            continue
        if field.message_type is None or field.message_type.full_name in WHOLE:
            yield FieldPath(path)
        else:
            yield from field_paths(field.message_type, path)
