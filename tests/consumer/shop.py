"""What the made-up project does: it greets its customers, and knows them by their sessions."""

from __future__ import annotations

from vibework.client import Notifications, Users, aio, errors
from vibework.notifications.v1 import NOTIFICATION_TYPE_EMAIL, NotificationContent
from vibework.users.v1 import User


def greet(notifications: Notifications, customer: User) -> None:
    """Greet a customer, in the feed and by email."""
    content = NotificationContent(
        title="Welcome", message=f"Good to see you, {customer.name}", type=NOTIFICATION_TYPE_EMAIL, category="welcome"
    )
    notifications.create_notification(user_id=customer.id, content=content)


def customer_of(users: Users, token: str) -> User | None:
    """Return whose session it is; None: nobody's."""
    try:
        return users.validate_session(session_token=token, include_user=True).user
    except errors.SessionInvalid:
        return None


async def is_customer(users: aio.Users, email: str) -> bool:
    """Say whether somebody has that address."""
    try:
        await users.get_user(email=email)
    except errors.UserNotFound:
        return False
    return True
