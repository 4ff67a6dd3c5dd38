"""The requests of the measured RPCs, made beforehand, and what the drivers do for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message
from vibework.notifications.v1 import (
    NOTIFICATION_TYPE_IN_APP,
    CountNotificationsRequest,
    CreateNotificationRequest,
    GetNotificationRequest,
    ListNotificationsRequest,
    NotificationContent,
    NotificationFilter,
)
from vibework.users.v1 import GetUserRequest, SignInRequest, ValidateSessionRequest

from tests.bench import plan as planned
from tests.bench.calls import Caller, MongoCaller, MySQLCaller
from tests.bench.dataset import Dataset
from tests.bench.plan import Plan, spread
from tests.bench.seed_mongodb import TEXT, document
from users_service.sessions import tokens

SESSIONS = "/vibework.users.v1.SessionService"
USERS = "/vibework.users.v1.UserService"
FEED = "/vibework.notifications.v1.NotificationService"
DISTINCT = 512
PAGE_SIZE = 20
MET = 4
UNMET = 16_384

BY_TOKEN = (
    "SELECT id, user_id, token_hash, created_at, expires_at, absolute_expires_at, extended_at, last_seen_at,"
    " revoked_at, do_not_remember, ip_address, user_agent FROM sessions WHERE token_hash = %s"
)
BY_ID = (
    "SELECT id, email, email_verified, name, password_hash, image, revision, created_at, updated_at FROM users"
    " WHERE id = %s"
)


@dataclass(frozen=True)
class Rpc:
    """One measured RPC: its service's side, its path, and its requests."""

    key: str
    side: str
    method: str
    requests: Sequence[bytes]


def rpcs(plan: Plan) -> dict[str, Rpc]:
    """Return the measured RPCs with requests for a dataset."""
    return {rpc.key: rpc for rpc in (*_users(plan), *_notifications(plan))}


def _users(plan: Plan) -> list[Rpc]:
    numbers = list(spread(range(plan.users), DISTINCT))
    chosen = spread(range(plan.sessions), DISTINCT)
    validate = [ValidateSessionRequest(session_token=planned.token(number)) for number in chosen]
    get = [GetUserRequest(id=planned.user_id(number)) for number in numbers]
    sign_in = [
        SignInRequest(email=planned.email(number), password=planned.PASSWORD) for number in range(planned.SIGN_IN_USERS)
    ]
    return [
        Rpc("validate", "users", f"{SESSIONS}/ValidateSession", _bytes(validate)),
        Rpc("get_user", "users", f"{USERS}/GetUser", _bytes(get)),
        Rpc("sign_in", "users", f"{SESSIONS}/SignIn", _bytes(sign_in)),
    ]


def _notifications(plan: Plan) -> list[Rpc]:
    heavy = [planned.user_id(number) for number in _heavy(plan)]
    readers = [planned.user_id(number) for number in plan.readers]
    ids = [str(plan.notification_id(number)) for number in spread(range(plan.notifications), DISTINCT)]
    filters = [NotificationFilter(read=False), NotificationFilter(seen=False), NotificationFilter(archived=True)]
    get = [GetNotificationRequest(id=key) for key in ids]
    listed = [ListNotificationsRequest(user_id=user, page_size=PAGE_SIZE) for user in readers]
    count = [CountNotificationsRequest(user_id=user, filters=filters) for user in heavy]
    return [
        _create("create", plan.recipients),
        # As few as the service meets while warming up; and so many that it meets none a second time within a minute,
        # for which it would remember them.
        _create("create_met", plan.recipients[:MET]),
        _create("create_unmet", spread(range(plan.readers.stop, plan.recipients.start), UNMET)),
        Rpc("get", "notifications", f"{FEED}/GetNotification", _bytes(get)),
        Rpc("list", "notifications", f"{FEED}/ListNotifications", _bytes(listed)),
        Rpc("count", "notifications", f"{FEED}/CountNotifications", _bytes(count)),
    ]


def _create(key: str, recipients: Iterable[int]) -> Rpc:
    content = NotificationContent(title="A new notification", message=TEXT, type=NOTIFICATION_TYPE_IN_APP)
    requests = [CreateNotificationRequest(user_id=planned.user_id(number), content=content) for number in recipients]
    return Rpc(key, "notifications", f"{FEED}/CreateNotification", _bytes(requests))


def drivers(dataset: Dataset) -> dict[str, Caller]:
    """Return what each RPC asks of its database, without gRPC and without a service."""
    plan, url = dataset.plan, dataset.notifications["MONGODB_URL"]
    hashes = [tokens.digest(planned.token(number)) for number in spread(range(plan.sessions), DISTINCT)]
    users = [planned.user_id(number) for number in spread(range(plan.users), DISTINCT)]
    heavy = [planned.user_id(number) for number in _heavy(plan)]
    readers = [planned.user_id(number) for number in plan.readers]
    ids = [plan.notification_id(number) for number in spread(range(plan.notifications), DISTINCT)]
    made = {**document(plan, plan.notifications - 1), "userId": planned.user_id(plan.recipients[0])}
    return {
        "validate": MySQLCaller(dataset.users, BY_TOKEN, hashes),
        "get_user": MySQLCaller(dataset.users, BY_ID, users),
        "get": MongoCaller(url, "find_one", ids),
        "list": MongoCaller(url, "list", readers),
        "count": MongoCaller(url, "count", heavy),
        "create": MongoCaller(url, "insert", [{**made, "createdAt": plan.fresh, "updatedAt": plan.fresh}]),
    }


def _heavy(plan: Plan) -> range:
    return range(1, 1 + min(plan.heavy_users, 64))


def _bytes(messages: Sequence[Message]) -> list[bytes]:
    return [message.SerializeToString() for message in messages]
