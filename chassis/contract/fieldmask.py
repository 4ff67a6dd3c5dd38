"""Field masks: which fields an update changes (AIP-134) and which a read returns (AIP-157)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from google.protobuf.descriptor import Descriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from chassis.errors import FieldViolation, InvalidArgument

# The path that stands for all that a mask may name.
WILDCARD: Final = "*"


class FieldMaskInvalid(InvalidArgument):
    """The mask names a field that does not exist or must not be changed."""

    reason = "FIELD_MASK_INVALID"
    keys = ("mask", "paths")
    template = "{mask}: unknown or fixed: {paths}"

    def __init__(self, mask: str, paths: Iterable[str]) -> None:
        bad = sorted(paths)
        super().__init__(
            violations=[
                FieldViolation(mask, f"{path!r} is not a path that may be named here", "MASK_PATH") for path in bad
            ]
        )
        self.mask = mask
        self.paths = ", ".join(bad)


def update_paths(mask: FieldMask, message: Message, allowed: Iterable[str]) -> frozenset[str]:
    """Return the top-level fields that an update changes.

    AIP-134: an empty mask means every allowed field that is set in ``message``; ``*`` means all of them.
    Raises ``FieldMaskInvalid`` for a path that is not in ``allowed``.
    """
    permitted = frozenset(allowed)
    paths = frozenset(mask.paths)
    if paths == {WILDCARD}:
        return permitted
    if bad := paths - permitted:
        raise FieldMaskInvalid("update_mask", bad)
    return paths or frozenset(field.name for field, _ in message.ListFields()) & permitted


def read_paths(mask: FieldMask, descriptor: Descriptor) -> frozenset[str]:
    """Return the paths that a read asks for; empty means everything (also for ``*``).

    Raises ``FieldMaskInvalid`` for a path that the message does not have.
    """
    paths = frozenset(mask.paths)
    if not paths or paths == {WILDCARD}:
        return frozenset()
    if bad := {path for path in paths if not _exists(descriptor, path)}:
        raise FieldMaskInvalid("read_mask", bad)
    return paths


def prune(message: Message, paths: frozenset[str]) -> None:
    """Clear every field of ``message`` that ``paths`` does not name; empty ``paths`` keeps all."""
    if not paths:
        return
    children = _by_first_part(paths)
    for field, value in message.ListFields():
        below = children.get(field.name)
        if below is None:
            message.ClearField(field.name)
        elif below and field.message_type is not None:
            prune(value, below)


def _by_first_part(paths: frozenset[str]) -> dict[str, frozenset[str]]:
    """Group paths by their first part; an empty group means the whole field."""
    groups: dict[str, frozenset[str]] = {}
    for path in paths:
        first, _, rest = path.partition(".")
        if not rest or groups.get(first) == frozenset():
            groups[first] = frozenset()
        else:
            groups[first] = groups.get(first, frozenset()) | {rest}
    return groups


def _exists(descriptor: Descriptor, path: str) -> bool:
    first, _, rest = path.partition(".")
    field = descriptor.fields_by_name.get(first)
    if field is None:
        return False
    inner = None if field.is_repeated else field.message_type
    return not rest or (inner is not None and _exists(inner, rest))
