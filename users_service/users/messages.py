"""Conversion of users to messages of the contract, and of requests to the model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import user_pb2, user_service_pb2

from chassis.contract.fieldmask import prune, update_paths
from chassis.contract.rules import MaskedRules
from chassis.contract.timestamps import assign, from_proto
from chassis.errors import InvalidFields
from users_service.users.model import Disablement, User, UserChanges, UserFilter, UserOrder

_LAST: Final = datetime.max.replace(tzinfo=UTC)
CHANGEABLE: Final = ("email", "name", "image", "email_verified")
RESOURCE: Final = "user"
ORDERS: Final = {
    user_service_pb2.USER_ORDER_UNSPECIFIED: UserOrder.NEWEST_FIRST,
    user_service_pb2.USER_ORDER_CREATED_AT_DESC: UserOrder.NEWEST_FIRST,
    user_service_pb2.USER_ORDER_CREATED_AT_ASC: UserOrder.OLDEST_FIRST,
    user_service_pb2.USER_ORDER_UPDATED_AT_ASC: UserOrder.EARLIEST_CHANGE_FIRST,
}


def fill(target: user_pb2.User, user: User, paths: frozenset[str] = frozenset()) -> None:
    """Write a user into a message: the fields that ``paths`` names, all where it is empty."""
    target.id = user.id
    target.email = user.email
    target.email_verified = user.email_verified
    target.name = user.name
    target.image = user.image
    assign(target.created_at, user.created_at)
    assign(target.updated_at, user.updated_at)
    target.etag = user.etag
    target.state = user_pb2.USER_STATE_DISABLED if user.is_disabled else user_pb2.USER_STATE_ACTIVE
    assign(target.disabled_at, user.disabled_at)
    assign(target.disabled_until, user.disabled_until)
    target.disabled_reason = user.disabled_reason
    if paths:
        prune(target, paths)


def filter_of(message: user_service_pb2.UserFilter) -> UserFilter:
    """Read a filter."""
    return UserFilter(
        email_contains=message.email_contains.casefold(),
        email_ends_with=message.email_ends_with.casefold(),
        created_after=_bound(message, "created_after"),
        created_before=_bound(message, "created_before"),
        email_verified=message.email_verified if message.HasField("email_verified") else None,
        ids=tuple(message.ids),
        updated_after=_bound(message, "updated_after"),
        updated_before=_bound(message, "updated_before"),
        is_disabled=_is_disabled(message.states),
    )


def _is_disabled(states: Sequence[user_pb2.UserState.ValueType]) -> bool | None:
    # Both of the two states are any.
    return states[0] == user_pb2.USER_STATE_DISABLED if len(states) == 1 else None


def _bound(message: user_service_pb2.UserFilter, name: str) -> datetime | None:
    return _ceiling(getattr(message, name)) if message.HasField(name) else None  # type: ignore[arg-type]


def _ceiling(timestamp: Timestamp) -> datetime:
    """Return the first whole microsecond at or after a time: stored times have no finer parts."""
    found = from_proto(timestamp)
    if timestamp.nanos % 1_000 == 0 or found == _LAST:
        # No TIMESTAMP comes near the end of the year 9999, so the microsecond before it bounds the same rows.
        return found
    return found + timedelta(microseconds=1)


def disablement_of(request: user_service_pb2.DisableUserRequest) -> Disablement:
    """Read what is said of a user who is to be disabled."""
    return Disablement(request.reason, from_proto(request.until) if request.HasField("until") else None)


def rules_of_updates() -> MaskedRules:
    """Return the rules of what an update changes: those that a new user's fields have."""
    return MaskedRules(user_service_pb2.CreateUserRequest, RESOURCE)


def changes_of(request: user_service_pb2.UpdateUserRequest, rules: MaskedRules) -> UserChanges:
    """Read the changes of an update. Raises FieldMaskInvalid, or InvalidFields for an empty mask or a broken rule."""
    if not request.update_mask.paths:
        raise InvalidFields.of("update_mask", "must name at least one field", "MASK_EMPTY")
    paths = update_paths(request.update_mask, request.user, CHANGEABLE)
    rules.check(request.user, paths)
    return UserChanges(**{name: getattr(request.user, name) for name in paths})
