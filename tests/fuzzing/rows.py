"""Rows that requests can name: made anew for every few hundred cases, since cases change and delete them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from vibework.notifications.v1 import delivery_pb2, notification_pb2
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1 import preference_service_pb2 as preferences_pb
from vibework.notifications.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from vibework.notifications.v1.notification_service_pb2_grpc import NotificationServiceStub
from vibework.notifications.v1.preference_service_pb2_grpc import PreferenceServiceStub
from vibework.notifications.v1.preferences_pb2 import Category
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as users_pb
from vibework.users.v1 import verification_service_pb2 as verifications_pb

from tests.contract.requests import A_POINT, IN_AN_HOUR, NO_DELIVERY, NO_NOTIFICATION, NOBODY, NOTIFICATIONS, USERS
from tests.contract.requests import PASSWORD as ANY_PASSWORD
from tests.fuzzing.texts import SECRET
from tests.harness import rpcs_of_users
from tests.harness.rpcs_of_users import NOBODY_ELSE
from tests.harness.storm import Rpc, rpcs_of
from tests.harness.users import Stubs

PASSWORD: Final = f"{SECRET} of nobody"
KEY_ID: Final = "k1"
# What would take the rows away that most requests are about is done to others.
OTHERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    **rpcs_of_users.CHANGED,
    "UserService/DisableUser": ({"id": NOBODY_ELSE}, ""),
    "UserService/EnableUser": ({"id": NOBODY_ELSE}, ""),
    "SessionService/RevokeAllSessions": ({"userId": NOBODY_ELSE}, ""),
    "AccountService/ChangePassword": (
        {"userId": NOBODY, "currentPassword": ANY_PASSWORD, "newPassword": ANY_PASSWORD},
        "",
    ),
}
NOTIFICATIONS_OF_OTHERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "NotificationService/DeleteUserNotifications": ({"userId": NOBODY_ELSE}, ""),
    "NotificationService/WatchNotifications": ({"userId": NOBODY, "snapshot": {}, "heartbeatInterval": "1s"}, ""),
    "DeliveryService/SendDirect": (
        {"emailAddress": "ann@example.com", "email": {"subject": "Hi", "text": SECRET}, "expiresAt": IN_AN_HOUR},
        "",
    ),
}


@dataclass(frozen=True)
class Rows:
    """What there is: the RPCs with requests that name it, and tokens that lists and watches have answered.

    ``user``, ``email``: whom all is about; ``secrets``: what was disclosed while the rows were made.
    """

    rpcs: tuple[Rpc, ...]
    user: str
    email: str
    tokens: tuple[str, ...]
    secrets: frozenset[str]

    def rpc(self, name: str) -> Rpc:
        """Return the RPC of a name, `package.Service/Method`."""
        return next(rpc for rpc in self.rpcs if rpc.path == f"/{name}")


async def make(users_channel: grpc.aio.Channel, notifications_channel: grpc.aio.Channel, name: str) -> Rows:
    """Make rows that have ``name`` in their addresses, which no others have."""
    ours = await _users(Stubs.on(users_channel), f"ann-{name}@example.com", name)
    theirs = await _notifications(notifications_channel, ours)
    users = {**ours.known, ANY_PASSWORD: PASSWORD, f"another {ANY_PASSWORD}": f"another {PASSWORD}"}
    rpcs = (
        *rpcs_of("vibework.users.v1", USERS | OTHERS, users),
        *rpcs_of("vibework.notifications.v1", NOTIFICATIONS | NOTIFICATIONS_OF_OTHERS, theirs.known),
    )
    return Rows(rpcs, ours.user, ours.email, (*ours.tokens, *theirs.tokens), ours.secrets)


@dataclass(frozen=True)
class _Made:
    """Rows of one service; ``known``: what stands in for a made-up value."""

    known: Mapping[str, str]
    user: str
    email: str
    tokens: tuple[str, ...]
    secrets: frozenset[str] = frozenset()


async def _users(stubs: Stubs, email: str, name: str) -> _Made:
    signed_up = await stubs.sessions.SignUp(sessions_pb.SignUpRequest(email=email, password=PASSWORD))
    user, token = signed_up.user.id, signed_up.session_token
    other = await stubs.users.CreateUser(users_pb.CreateUserRequest(email=f"other-{name}@example.com"))
    session = await stubs.sessions.CreateSession(sessions_pb.CreateSessionRequest(user_id=user))
    accounts = [
        (
            await stubs.accounts.LinkAccount(
                accounts_pb.LinkAccountRequest(
                    user_id=user, account=accounts_pb.ProviderAccount(provider=provider, account_id=name)
                )
            )
        ).account.id
        for provider in ("google", "apple")
    ]
    code = await stubs.verifications.CreateVerification(
        verifications_pb.CreateVerificationRequest(
            purpose=verifications_pb.VERIFICATION_PURPOSE_SIGN_IN,
            identifier=email,
            kind=verifications_pb.VERIFICATION_KIND_CODE,
            delivery=verifications_pb.VERIFICATION_DELIVERY_RETURN_CODE,
        )
    )
    page = await stubs.users.ListUsers(users_pb.ListUsersRequest(page_size=1))
    sessions = await stubs.sessions.ListSessions(sessions_pb.ListSessionsRequest(user_id=user, page_size=1))
    known = {
        NOBODY: user,
        NOBODY_ELSE: other.user.id,
        "x": token,
        "sess_x": session.session.id,
        "acct_x": accounts[0],
        "acct_none": accounts[1],
        "ann@example.com": email,
        "123456": code.secret,
    }
    return _Made(
        known,
        user,
        email,
        _given(page.next_page_token, sessions.next_page_token),
        frozenset({token, session.session_token}),
    )


async def _notifications(channel: grpc.aio.Channel, ours: _Made) -> _Made:
    feed: Any = NotificationServiceStub(channel)
    deliveries: Any = DeliveryServiceStub(channel)
    preferences: Any = PreferenceServiceStub(channel)
    ids = [
        (await feed.CreateNotification(_create(ours.user, kind))).notification.id
        for kind in (notification_pb2.NOTIFICATION_TYPE_EMAIL, notification_pb2.NOTIFICATION_TYPE_IN_APP)
    ]
    listed = await feed.ListNotifications(feed_pb.ListNotificationsRequest(user_id=ours.user, page_size=1))
    sent = await deliveries.ListDeliveries(
        deliveries_pb.ListDeliveriesRequest(filter=delivery_pb2.DeliveryFilter(user_id=ours.user))
    )
    await preferences.PutCategory(preferences_pb.PutCategoryRequest(category=Category(name="no-news", title="No news")))
    push = await preferences.RegisterPushSubscription(_push(ours.user))
    await deliveries.ReportDeliveryEvent(
        deliveries_pb.ReportDeliveryEventRequest(email_address=ours.email, event=deliveries_pb.DELIVERY_EVENT_COMPLAINT)
    )
    watch = feed.WatchNotifications(
        feed_pb.WatchNotificationsRequest(user_id=ours.user, snapshot=feed_pb.WatchNotificationsRequest.Snapshot())
    )
    try:
        events = [await watch.read() for _ in range(3)]
    finally:
        watch.cancel()
    tokens = _given(listed.next_page_token, listed.as_of, *(event.resume_token for event in events))
    known = {
        **{made_up: ours.known[made_up] for made_up in (NOBODY, NOBODY_ELSE, "ann@example.com")},
        NO_NOTIFICATION: ids[0],
        NO_DELIVERY: sent.deliveries[0].id,
        "push_x": push.subscription.id,
    }
    return _Made(known, ours.user, ours.email, tokens)


def _create(user: str, kind: Any) -> Message:
    content = notification_pb2.NotificationContent(title="Hello", message="x", type=kind)
    content.data.update({"list": [1, {"deep": True}]})
    return feed_pb.CreateNotificationRequest(user_id=user, content=content)


def _push(user: str) -> Message:
    request = preferences_pb.RegisterPushSubscriptionRequest(user_id=user)
    request.expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    request.web_push.MergeFrom(
        preferences_pb.WebPushTarget(
            endpoint=f"https://push.example.com/{user}",
            p256dh=_bytes(A_POINT),
            auth=bytes(16),
            key_id=KEY_ID,
        )
    )
    return request


def _bytes(text: str) -> bytes:
    from base64 import b64decode

    return b64decode(text)


def _given(*tokens: str) -> tuple[str, ...]:
    return tuple(token for token in tokens if token)
