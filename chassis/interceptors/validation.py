"""Validation: protovalidate rules of the request, every violation at once, before the handler runs."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message
from protovalidate import FieldPathElementPb as FieldPathElement
from protovalidate import FieldPathPb as FieldPath
from protovalidate import Validator, Violation

from chassis.errors import FieldViolation, InvalidFields

Check = Callable[[Message], None]


def checker(validator: Validator) -> Check:
    """Return what raises ``InvalidFields`` with every violation of a request.

    One validator for the whole server: it caches compiled rules.
    """
    collect = validator.collect_violations

    def check(request: Message) -> None:
        if violations := collect(request):
            raise InvalidFields([_field_violation(item) for item in violations])

    return check


def warm(validator: Validator, request_class: type[Message]) -> None:
    """Compile the rules of a request type now, so that no caller waits for it."""
    validator.collect_violations(request_class())


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
