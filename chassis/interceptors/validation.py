"""Validation: protovalidate rules of the request, and rules of times, every violation at once, before the handler."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import Message
from protovalidate import FieldPathElementPb as FieldPathElement
from protovalidate import FieldPathPb as FieldPath
from protovalidate import Validator, Violation

from chassis.errors import FieldViolation, InvalidFields
from chassis.interceptors.plain_rules import shortcut
from chassis.interceptors.time_rules import TimeRules

Check = Callable[[Message], None]
CollectViolations = Callable[[Message], Sequence[Violation]]


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
        times = TimeRules(request_class.DESCRIPTOR)
        faults = times.faults if times else None

        def check(request: Message) -> None:
            # The shortcut accepts no request with a message in it, such as a time.
            if accept(request):
                return
            if faults is not None and faults(request):
                raise InvalidFields(_with_wrong_times(request, times, collect))
            if violations := collect(request):
                raise InvalidFields([_field_violation(item) for item in violations])

        return check


def _nothing(_: Message) -> bool:
    return False


def _with_wrong_times(request: Message, rules: TimeRules, collect: CollectViolations) -> list[FieldViolation]:
    """Return the violations of a request with wrong times, which protovalidate is not shown: it may fail on them."""
    copy = type(request)()
    copy.CopyFrom(request)
    faults = rules.faults(copy)
    for holder, name, _ in faults:
        holder.ClearField(name)
    wrong = {violation.field: violation for _, _, violation in faults}
    return [*wrong.values(), *(item for item in map(_field_violation, collect(copy)) if item.field not in wrong)]


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
