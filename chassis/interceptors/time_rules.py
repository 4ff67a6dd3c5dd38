"""Rules of times: every Timestamp and Duration of a request is one that its type defines, in every RPC.

Their types say which seconds and nanos are valid (``google/protobuf/timestamp.proto`` and ``duration.proto``), but no
parser looks, and no two libraries agree on what the others mean. protovalidate looks only where a field has a rule.
Items that the contract says to ignore (``IGNORE_ALWAYS``) are left to whoever judges them one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from chassis.errors import FieldViolation
from chassis.interceptors.encoded_rules import ignores_items

_NANOS: Final = 1_000_000_000
# Of a Duration, to either side: some 10,000 years.
_MOST_SECONDS: Final = 315_576_000_000

# The message that holds a time that is none, the name of the field there, and the violation.
Fault = tuple[Any, str, FieldViolation]
_Rule = Callable[[Any, str], FieldViolation | None]


def _timestamp(time: Any, path: str) -> FieldViolation | None:
    if not FIRST_SECOND <= time.seconds <= LAST_SECOND:
        return FieldViolation(path, "must be a time of the years 1 to 9999", "TIMESTAMP_YEARS")
    if not 0 <= time.nanos < _NANOS:
        return FieldViolation(path, "nanos must be from 0 to 999,999,999", "TIMESTAMP_NANOS")
    return None


def _duration(time: Any, path: str) -> FieldViolation | None:
    seconds, nanos = time.seconds, time.nanos
    if not -_MOST_SECONDS <= seconds <= _MOST_SECONDS:
        return FieldViolation(path, "must be at most 315,576,000,000 seconds", "DURATION_SECONDS")
    if not -_NANOS < nanos < _NANOS or seconds * nanos < 0:
        return FieldViolation(path, "nanos must be less than a second, and of the sign of seconds", "DURATION_NANOS")
    return None


_RULES: Final[dict[str, _Rule]] = {"google.protobuf.Timestamp": _timestamp, "google.protobuf.Duration": _duration}


class TimeRules:
    """The rules of all times in messages of one type; what must be known of the type is found out once."""

    def __init__(self, descriptor: Any) -> None:
        below = _messages(descriptor)
        self._times = [(field.name, _RULES[kind.full_name]) for field, kind in below if kind.full_name in _RULES]
        self._messages = [
            (field.name, field.is_repeated, TimeRules(kind)) for field, kind in below if _holds_times(kind, frozenset())
        ]
        repeated = [field.name for field, kind in below if field.is_repeated and kind.full_name in _RULES]
        if repeated or (self and descriptor.GetOptions().map_entry):
            raise TypeError(f"{descriptor.full_name}: lists and maps of times are not supported")

    def __bool__(self) -> bool:
        return bool(self._times or self._messages)

    def faults(self, message: Any, before: str = "") -> list[Fault]:
        """Return every time in a message that is none; ``before``: the path of the message, and a dot."""
        found: list[Fault] = []
        for name, rule in self._times:
            if message.HasField(name) and (violation := rule(getattr(message, name), f"{before}{name}")):
                found.append((message, name, violation))
        for name, is_repeated, rules in self._messages:
            if is_repeated:
                for number, inner in enumerate(getattr(message, name)):
                    found += rules.faults(inner, f"{before}{name}[{number}].")
            elif message.HasField(name):
                found += rules.faults(getattr(message, name), f"{before}{name}.")
        return found


def _messages(descriptor: Any) -> list[tuple[FieldDescriptor, Descriptor]]:
    """Return the fields of a type that hold messages to look at, and the types of these."""
    held = [(field, field.message_type) for field in descriptor.fields]
    return [(field, kind) for field, kind in held if kind is not None and not ignores_items(field)]


def _holds_times(descriptor: Descriptor, above: frozenset[str]) -> bool:
    """Say whether messages of a type hold times, at any depth; ``above``: the types around it, which JSON's repeat."""
    if descriptor.full_name in above:
        return False
    here = above | {descriptor.full_name}
    return any(kind.full_name in _RULES or _holds_times(kind, here) for _, kind in _messages(descriptor))
