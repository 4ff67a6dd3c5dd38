"""Audited RPCs: every RPC that changes something or discloses a secret, and whom a call of it is about.

Both are read off the descriptors, so a new RPC is audited by itself. Of requests and answers ids are
taken and nothing else: no address, no name of a person, no secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.descriptor_pool import Default

from chassis.access.groups import GROUPS, short

# Returns the ids of those that a message is about.
Subjects: TypeAlias = Callable[[Any], tuple[str, ...]]

# Ids of one call that are written down; how many there are stands beside them.
MOST_SUBJECTS: Final = 100
_SUBJECTS_OF_REQUESTS: Final = (
    *("user_id", "id", "ids", "session_id", "delivery_id"),
    *("user.id", "notification.id", "preferences.user_id", "users.id", "items.user_id", "fan_out.user_ids"),
    *("ids.ids", "filter.user_id"),
)
_SUBJECTS_OF_ANSWERS: Final = (
    *("user.id", "user_id", "session.user_id", "account.user_id", "notification.id", "delivery.id", "subscription.id"),
    "verification.id",
)
# Of what callers send, what may stand in a log: ids of ours, and those of other systems that were taken over.
_is_id = re.compile(r"[A-Za-z0-9._:-]{1,128}").fullmatch


def is_audited(method: str) -> bool:
    """Say whether calls of a method (``package.Service/Method``) are audited."""
    described = _described(method)
    if described is None or short(method) in GROUPS["read"]:
        return False
    changes = described.GetOptions().idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    return bool(changes) or short(method) in GROUPS["secrets"]


def subjects_of_request(method: str) -> Subjects:
    """Return what names those that a call is about by its request; it finds nobody where the request names none."""
    described = _described(method)
    return _nobody if described is None else _first(described.input_type, _SUBJECTS_OF_REQUESTS)


def subjects_of_answer(method: str) -> Subjects:
    """Return the same by the answer, for calls whose request cannot name anybody yet, such as a sign-up."""
    described = _described(method)
    return _nobody if described is None else _first(described.output_type, _SUBJECTS_OF_ANSWERS)


def _described(method: str) -> MethodDescriptor | None:
    service, _, name = method.removeprefix("/").rpartition("/")
    try:
        described: MethodDescriptor = Default().FindServiceByName(service).methods_by_name[name]
    except KeyError:
        return None
    return described


def _nobody(_: Any) -> tuple[str, ...]:
    return ()


def _first(message: Descriptor, paths: tuple[str, ...]) -> Subjects:
    """Return what reads the first of the paths that has ids in a message of this type."""
    readable = [path.split(".") for path in paths if _is_there(message, path.split("."))]

    def subjects(found: Any) -> tuple[str, ...]:
        for path in readable:
            if ids := tuple(_ids(found, path)):
                return ids
        return ()

    return subjects if readable else _nobody


def _is_there(message: Descriptor, path: list[str]) -> bool:
    field: FieldDescriptor | None = message.fields_by_name.get(path[0])
    if field is None:
        return False
    if len(path) == 1:
        return bool(field.type == FieldDescriptor.TYPE_STRING)
    return field.message_type is not None and _is_there(field.message_type, path[1:])


def _ids(message: Any, path: list[str]) -> Iterator[str]:
    value = getattr(message, path[0])
    for each in (value,) if isinstance(value, str) or hasattr(value, "DESCRIPTOR") else value:
        if len(path) > 1:
            yield from _ids(each, path[1:])
        elif each:
            yield each if _is_id(each) else "?"
