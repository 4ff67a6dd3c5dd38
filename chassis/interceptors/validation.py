"""Validation: protovalidate rules of the request, every violation at once, before the handler runs."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from protovalidate import FieldPathElementPb as FieldPathElement
from protovalidate import FieldPathPb as FieldPath
from protovalidate import Validator, Violation

from chassis.errors import FieldViolation, InvalidFields
from chassis.interceptors.plain_rules import shortcut

Check = Callable[[Message], None]


class Validation:
    """Makes the check of a request type; one for the whole server, because it caches compiled rules."""

    def __init__(self) -> None:
        self._validator = Validator()

    def check(self, request_class: type[Message]) -> Check:
        """Return a check that raises ``InvalidFields`` with every violation of a request of this type.

        The rules are compiled now, so that no call waits for that.
        """
        collect = self._validator.collect_violations
        collect(request_class())
        accept = shortcut(request_class.DESCRIPTOR) or _nothing

        def check(request: Message) -> None:
            if not accept(request) and (violations := collect(request)):
                raise InvalidFields([_field_violation(item) for item in violations])

        return check


def _nothing(_: Message) -> bool:
    return False


def _field_violation(violation: Violation) -> FieldViolation:
    proto = violation.proto
    rule = proto.rule_id
    return FieldViolation(
        field=_path(proto.field),
        description=proto.message or f"breaks the rule {rule}",
        reason=rule.upper().replace(".", "_"),
    )


def _path(path: FieldPath | None) -> str:
    """Write a field path as ``google.rpc.BadRequest`` does: ``filter.ids[2]``, ``labels["a"]``."""
    parts = [] if path is None else [_element(element) for element in path.elements]
    return ".".join(parts)


def _element(element: FieldPathElement) -> str:
    if element.subscript is None:
        return element.field_name
    key = element.subscript.value
    return f'{element.field_name}["{key}"]' if isinstance(key, str) else f"{element.field_name}[{key}]"
