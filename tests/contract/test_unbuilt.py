"""What is not built is said: a field that a server does not act on is refused by its name, in each RPC that has it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from notifications_service.notification.unbuilt import FIELDS as OF_NOTIFICATIONS
from tests.contract.fieldpaths import FieldPath, method_of
from tests.contract.requests import NOBODY, REQUESTS
from tests.contract.servers import Channels, call_raw
from users_service.unbuilt import FIELDS as OF_USERS

UNBUILT = {kind.DESCRIPTOR.full_name: names for kind, names in {**OF_NOTIFICATIONS, **OF_USERS}.items()}
LATER = "2030-01-01T00:00:00Z"
# A value for each field, with what must be set beside it; in JSON.
VALUES: dict[str, dict[str, Any]] = {
    "channels": {"channels": ["NOTIFICATION_TYPE_EMAIL"]},
    "email": {"type": "NOTIFICATION_TYPE_EMAIL", "email": {"unlessRead": True}},
    "push": {"type": "NOTIFICATION_TYPE_PUSH", "push": {"content": {"title": "Hi"}}},
    "urgency": {"urgency": "NOTIFICATION_URGENCY_HIGH"},
    "critical": {"critical": True},
    "expires_at": {"expiresAt": LATER},
    "collapse_key": {"collapseKey": "k"},
    "thread_key": {"threadKey": "t"},
    "thread_keys": {"threadKeys": ["t"]},
    "include_counts": {"includeCounts": True},
    "filter": {"filter": {"categories": ["news"]}},
    "ids": {"ids": [NOBODY]},
    "updated_after": {"updatedAfter": LATER},
    "updated_before": {"updatedBefore": LATER},
    "states": {"states": ["USER_STATE_DISABLED"]},
    "request_id": {"requestId": "9b2f3c1e-5f0a-4c1d-8e7b-000000000001"},
    "include_ended": {"includeEnded": True},
    "digest_time": {"digestTime": {"minute": 480}},
    "locale": {"locale": "pt-BR"},
    "user_id": {"purpose": "VERIFICATION_PURPOSE_EMAIL_CHANGE", "userId": NOBODY},
}
# Where a field is right only beside another one.
BESIDES = {"vibework.users.v1.VerificationService/CreateVerification: locale": {"delivery": 2}}


def unbuilt_paths(message: Descriptor, above: tuple[FieldDescriptor, ...] = ()) -> Iterator[FieldPath]:
    """Yield the fields of a request that are not built, at any depth."""
    for field in message.fields:
        path = (*above, field)
        if field.name in UNBUILT.get(message.full_name, ()):
            yield FieldPath(path)
        elif field.message_type is not None and field.message_type.full_name.startswith("vibework."):
            yield from unbuilt_paths(field.message_type, path)


CASES = [
    (rpc, path)
    for rpc, (request, _) in REQUESTS.items()
    for path in unbuilt_paths(method_of(rpc).input_type)
    # Of a choice, the one that the request has.
    if path.fields[0].containing_oneof is None or len(path.fields) == 1 or path.fields[0].json_name in request
]


def test_a_field_that_is_not_built_is_refused_by_name(channels: Channels) -> None:
    """Nothing that a caller asks for is passed over in silence."""
    for rpc, path in CASES:
        method = method_of(rpc)
        request: Any = message_factory.GetMessageClass(method.input_type)()
        json_format.ParseDict(REQUESTS[rpc][0] | BESIDES.get(f"{rpc}: {path.name}", {}), request)
        json_format.ParseDict(VALUES[path.fields[-1].name], path.holder(request))
        channel = channels[rpc.rpartition("/")[0].rpartition(".")[0]]
        answer = call_raw(channel, f"/{rpc}", request.SerializeToString(), streaming=method.server_streaming)
        assert (answer.code, answer.info.reason) == ("UNIMPLEMENTED", "NOT_IMPLEMENTED"), answer
        assert answer.info.metadata["field"] == path.name


def test_every_unbuilt_field_is_tried() -> None:
    """A list names no field that no request has, and no field of a list is left out above."""
    last = [path.fields[-1] for _, path in CASES]
    tried = {(field.containing_type.full_name, field.name) for field in last if field.containing_type is not None}
    assert tried == {(kind, name) for kind, names in UNBUILT.items() for name in names}
