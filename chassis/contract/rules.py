"""Rules of fields: protovalidate's annotations, and each that is broken as a violation that names field and rule."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Final

from google.protobuf.message import Message
from protovalidate import FieldPathElementPb as FieldPathElement
from protovalidate import FieldPathPb as FieldPath
from protovalidate import Validator, Violation

from chassis.errors import FieldViolation, InvalidFields

Violations = Callable[[Message], list[FieldViolation]]

# The field of a path: `entries[2].mode` is about `entries`.
_FIRST_PART: Final = re.compile(r"[^.\[]*")


# What protovalidate finds in a message. One for the whole process, because it caches compiled rules: compiling them is
# most of the processor time that making a server takes.
collect_violations: Final = Validator().collect_violations


def collector(message_class: type[Message]) -> Violations:
    """Return a function that returns every violation of a message of this type.

    The rules are compiled now, so that no call waits for that.
    """
    collect_violations(message_class())
    return lambda message: [_field_violation(item) for item in collect_violations(message)]


class MaskedRules:
    """The rules of an update: the fields that its mask names keep those of the same fields of a creation (AIP-134).

    ``rules``: the message with the rules; ``resource``: the field of the request that holds the new values.
    """

    def __init__(self, rules: type[Message], resource: str) -> None:
        self._rules = rules
        self._resource = resource
        self._collect = collector(rules)

    def check(self, values: Message, paths: Collection[str], *, beside: Message | None = None) -> None:
        """Raise InvalidFields with every violation of the fields of ``values`` that ``paths`` names.

        ``beside``: what rules that look at several fields find in those that ``paths`` does not name.
        """
        example = self._rules()
        if beside is not None:
            example.MergeFrom(beside)
        for path in paths:
            _copy(path, values, example)
        broken = [item for item in self._collect(example) if _first_part(item.field) in paths]
        if broken:
            raise InvalidFields(
                FieldViolation(f"{self._resource}.{item.field}", item.description, item.reason) for item in broken
            )


def _copy(name: str, source: Message, target: Message) -> None:
    field = source.DESCRIPTOR.fields_by_name[name]
    value = getattr(source, name)
    target.ClearField(name)
    if field.is_repeated:
        getattr(target, name).extend(value)
    elif field.message_type is None:
        setattr(target, name, value)
    elif source.HasField(name):
        getattr(target, name).CopyFrom(value)


def _first_part(path: str) -> str:
    found = _FIRST_PART.match(path)
    return found[0] if found else ""


def _field_violation(violation: Violation) -> FieldViolation:
    proto = violation.proto
    rule = proto.rule_id
    return FieldViolation(
        field=_path(proto.field, rule if proto.rule is None else ""),
        description=proto.message or f"breaks the rule {rule}",
        reason=rule.upper().replace(".", "_"),
    )


def _path(path: FieldPath | None, rule_of_message: str) -> str:
    """Write a field path as ``google.rpc.BadRequest`` does: ``filter.ids[2]``, ``labels["a"]``.

    A rule of a whole message, which protovalidate reports of the message, begins with the field that is at fault.
    """
    parts = [] if path is None else [_element(element) for element in path.elements]
    field, dot, _ = rule_of_message.partition(".")
    return ".".join([*parts, field] if dot else parts)


def _element(element: FieldPathElement) -> str:
    if element.subscript is None:
        return element.field_name
    key = element.subscript.value
    return f'{element.field_name}["{key}"]' if isinstance(key, str) else f"{element.field_name}[{key}]"
