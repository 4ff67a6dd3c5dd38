"""A shortcut past protovalidate for requests whose rules are plain: lengths of strings, and a required oneof.

The look-ups by key, which are most of the traffic, have such rules; protovalidate takes 3% of a bare call
for them. The shortcut only ever accepts: whatever it does not know or would refuse goes to protovalidate,
which stays the one judge of what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor, OneofDescriptor

from chassis.interceptors.encoded_rules import has_rules, lengths

Accept = Callable[[Any], bool]


def shortcut(descriptor: Any) -> Accept | None:
    """Return a check that accepts only requests that keep their rules; None for a type whose rules are not plain."""
    oneofs = [oneof for oneof in descriptor.oneofs if len(oneof.fields) > 1]
    members = {field.name for oneof in oneofs for field in oneof.fields}
    alone = [_field(field) for field in descriptor.fields if field.name not in members]
    steps = [*alone, *map(_oneof, oneofs)]
    if has_rules(descriptor) or None in steps:
        return None
    return _all([step for step in steps if step is not None and step is not _anything])


def _field(field: FieldDescriptor) -> Accept | None:
    """Return the check of a field that belongs to no oneof; None when its rules are not plain."""
    name = field.name
    if field.message_type is not None:
        # The message in it may have rules of its own, but an unset field has nothing to check unless it is required.
        plain = not field.is_repeated and not has_rules(field)
        return (lambda request: not request.HasField(name)) if plain else None
    if not has_rules(field):
        return _anything
    limits = lengths(field)
    if limits is None:
        return None
    least, most = limits
    return lambda request: least <= len(getattr(request, name)) <= most


def _oneof(oneof: OneofDescriptor) -> Accept | None:
    """Return the check of a oneof of strings, of which one is set; None when its rules are not plain."""
    name = oneof.name
    limits = {field.name: lengths(field) for field in oneof.fields}
    known = {field: limit for field, limit in limits.items() if limit is not None}
    if len(known) < len(limits):
        return None

    def accept(request: Any) -> bool:
        chosen = request.WhichOneof(name)
        if chosen is None:
            return False
        least, most = known[chosen]
        return least <= len(getattr(request, chosen)) <= most

    return accept


def _anything(_: Any) -> bool:
    return True


def _all(steps: list[Accept]) -> Accept:
    # Look-ups by key have one step, of which a loop would cost half as much again (0.07 µs).
    if len(steps) == 1:
        return steps[0]

    def accept(request: Any) -> bool:
        for step in steps:  # noqa: SIM110 - all() with a generator takes twice as long
            if not step(request):
                return False
        return True

    return accept
