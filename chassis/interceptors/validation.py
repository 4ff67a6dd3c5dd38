"""Validation: protovalidate rules of the request, and rules of times, every violation at once, before the handler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.message import Message

from chassis.contract.rules import Violations, collector
from chassis.errors import FieldViolation, InvalidFields
from chassis.interceptors.bounds import Bounds
from chassis.interceptors.plain_rules import shortcut
from chassis.interceptors.time_rules import TimeRules

Check = Callable[[Message], None]


# Each is put together once for a process, which may have several servers.
_CHECKS: Final[dict[type[Message], Check]] = {}


def check_of(request_class: type[Message]) -> Check:
    """Return the check of this type, which raises ``InvalidFields`` with every violation of a request.

    Of a list that is too long it looks at no more items than may be, and one; the others are gone from the request.
    """
    if request_class not in _CHECKS:
        _CHECKS[request_class] = _compiled(request_class)
    return _CHECKS[request_class]


def _compiled(request_class: type[Message]) -> Check:
    collect = collector(request_class)
    accept = shortcut(request_class.DESCRIPTOR) or _nothing
    bounds = Bounds(request_class.DESCRIPTOR)
    times = TimeRules(request_class.DESCRIPTOR)
    faults = times.faults if times else None

    def check(request: Message) -> None:
        # The shortcut accepts no request with a message in it, such as a time.
        if accept(request):
            return
        if bounds.exceeded(request):
            bounds.cut(request)
        if faults is not None and faults(request):
            raise InvalidFields(_with_wrong_times(request, times, collect))
        if violations := collect(request):
            raise InvalidFields(violations)

    return check


def _nothing(_: Message) -> bool:
    return False


def _with_wrong_times(request: Message, rules: TimeRules, collect: Violations) -> list[FieldViolation]:
    """Return the violations of a request with wrong times, which protovalidate is not shown: it may fail on them."""
    copy = type(request)()
    copy.CopyFrom(request)
    faults = rules.faults(copy)
    for holder, name, _ in faults:
        holder.ClearField(name)
    wrong = {violation.field: violation for _, _, violation in faults}
    return [*wrong.values(), *(item for item in collect(copy) if item.field not in wrong)]
