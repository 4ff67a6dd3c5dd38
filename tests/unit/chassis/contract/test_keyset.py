"""What binds a page token to its list: RPC, owner, filter and order, however they are written."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_service_pb2 as delivery
from vibework.notifications.v1 import notification_service_pb2 as feed
from vibework.notifications.v1 import preference_service_pb2 as preferences
from vibework.notifications.v1.notification_pb2 import NOTIFICATION_TYPE_EMAIL as EMAIL
from vibework.notifications.v1.notification_pb2 import NOTIFICATION_TYPE_PUSH as PUSH
from vibework.users.v1 import account_service_pb2 as accounts
from vibework.users.v1 import session_service_pb2 as sessions
from vibework.users.v1 import user_service_pb2 as users

from chassis.contract.keyset import UNBOUND, cut, list_of

LISTS: list[Any] = [
    message
    for module in (accounts, delivery, feed, preferences, sessions, users)
    for name, message in vars(module).items()
    if name.startswith("List") and "page_token" in message.DESCRIPTOR.fields_by_name
]


# Something that a field may hold and that is not what it holds unset.
VALUES = {FieldDescriptor.TYPE_STRING: "x", FieldDescriptor.TYPE_BOOL: True, FieldDescriptor.TYPE_INT32: 7}


def _value(field: FieldDescriptor) -> Any:
    # Of an enum not the first after UNSPECIFIED, which may be the default.
    return VALUES[field.type] if field.enum_type is None else field.enum_type.values[-1].number


def _set(message: Any, field: FieldDescriptor) -> None:
    if field.message_type is not None:
        target = getattr(message, field.name)
        if field.message_type.full_name == Timestamp.DESCRIPTOR.full_name:
            target.seconds = 1
        else:
            target.SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).append(_value(field))
    else:
        setattr(message, field.name, _value(field))


def _variants(request_class: Any) -> list[Any]:
    """Return requests that differ from an empty one in one bound field each, those of filters included."""
    found = []
    for field in request_class.DESCRIPTOR.fields:
        if field.name in UNBOUND:
            continue
        inner = field.message_type.fields if field.message_type is not None else [None]
        for part in inner:
            request = request_class()
            if part is None:
                _set(request, field)
            else:
                _set(getattr(request, field.name), part)
            found.append(request)
    return found


@pytest.mark.parametrize("request_class", LISTS, ids=lambda message: message.__name__)
def test_each_owner_and_condition_makes_another_list(request_class: Any) -> None:
    """A page token never serves a list that its first page was not of."""
    requests = [request_class(), *_variants(request_class)]
    assert len(requests) > 1
    assert len({list_of(request) for request in requests}) == len(requests)


@pytest.mark.parametrize("request_class", LISTS, ids=lambda message: message.__name__)
def test_what_a_page_shows_is_free(request_class: Any) -> None:
    """Size, mask and total may change from page to page."""
    shown = request_class(page_size=7, page_token="x")
    for field in request_class.DESCRIPTOR.fields:
        if field.name in UNBOUND and field.name not in {"page_size", "page_token"}:
            _set(shown, field)
    assert list_of(shown) == list_of(request_class())


def test_the_order_of_values_is_no_part_of_a_filter() -> None:
    """Callers build filters from sets."""
    one, other = feed.NotificationFilter(categories=["a", "b"]), feed.NotificationFilter(categories=["b", "a", "b"])
    one.types.extend([EMAIL, PUSH])
    other.types.extend([PUSH, EMAIL])
    assert list_of(feed.ListNotificationsRequest(filter=one)) == list_of(feed.ListNotificationsRequest(filter=other))


def test_an_empty_filter_and_the_default_order_are_what_is_unset() -> None:
    """Both ways to write the same list page together."""
    unset = users.ListUsersRequest()
    written = users.ListUsersRequest(filter=users.UserFilter(), order=users.USER_ORDER_CREATED_AT_DESC)
    assert list_of(written) == list_of(unset)


def test_a_list_leaves_its_request_alone() -> None:
    """The servicer goes on with what the caller sent."""
    request = feed.ListNotificationsRequest(filter=feed.NotificationFilter(types=[PUSH, EMAIL]), page_size=3)
    before = request.SerializeToString()
    list_of(request)
    assert request.SerializeToString() == before


@pytest.mark.parametrize(("rows", "page", "last"), [(0, [], None), (2, [0, 1], None), (3, [0, 1], 1)])
def test_a_page_is_cut_where_more_follow(rows: int, page: list[int], last: int | None) -> None:
    """The row that was asked for beyond the page only tells that there are more."""
    assert cut(list(range(rows)), 2, lambda row: row) == (page, last)
