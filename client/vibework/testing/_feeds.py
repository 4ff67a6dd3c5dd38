"""What users were notified of."""

from __future__ import annotations

from vibework.client import Notifications
from vibework.notifications.v1 import Notification
from vibework.testing import _waiting
from vibework.users.v1 import User


class Feed:
    """The feed of one user."""

    def __init__(self, notifications: Notifications, user_id: str) -> None:
        self._notifications = notifications
        self._user_id = user_id

    def list(self) -> list[Notification]:
        """Return what the user was notified of so far, newest first."""
        return [*self._notifications.list_notifications(user_id=self._user_id)]

    def wait(self, title: str | None = None, *, seconds: float = _waiting.SECONDS) -> Notification:
        """Return the newest notification, with this title if one is given, once there is one.

        Raises AssertionError, with the titles of what came instead, where there is none within ``seconds``.
        """

        def found() -> Notification | None:
            return next((each for each in self.list() if title in {None, each.title}), None)

        def missing() -> AssertionError:
            wanted = "" if title is None else f" with the title {title!r}"
            others = [each.title for each in self.list()]
            return AssertionError(f"no notification{wanted} came within {seconds:g} s; what came: {others}")

        return _waiting.wait_for(found, missing, seconds)


class Feeds:
    """Feeds by user."""

    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    def __call__(self, user: User | str) -> Feed:
        """Return the feed of a user, or of the user with this id."""
        return Feed(self._notifications, user if isinstance(user, str) else user.id)
