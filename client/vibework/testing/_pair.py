"""The pair that the tests have: where both services are, and clients of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vibework.client import TLS, Notifications, Users, aio
from vibework.testing._mails import Mails


@dataclass(frozen=True)
class Pair:
    """Both services, and how they are called."""

    users_address: str
    notifications_address: str
    # It was made for these tests and ends with them. On one that ran before, the users that tests made are deleted.
    is_own: bool = True
    tls: TLS | None = None
    token_file: Path | None = None
    mails: Mails | None = field(default=None, repr=False)
    # SECRET_KEYS of each service, by its name; empty where the pair was not made here.
    secret_keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def users(self, **options: Any) -> Users:
        """Return a client of the users service; ``options``: those of ``Users.connect``."""
        return Users.connect(self.users_address, **self._how(options))

    def notifications(self, **options: Any) -> Notifications:
        """Return a client of the notifications service; ``options``: those of ``Notifications.connect``."""
        return Notifications.connect(self.notifications_address, **self._how(options))

    def aio_users(self, **options: Any) -> aio.Users:
        """Return a client of the users service for the event loop that runs."""
        return aio.Users.connect(self.users_address, **self._how(options))

    def aio_notifications(self, **options: Any) -> aio.Notifications:
        """Return a client of the notifications service for the event loop that runs."""
        return aio.Notifications.connect(self.notifications_address, **self._how(options))

    def _how(self, options: Mapping[str, Any]) -> dict[str, Any]:
        return {"tls": self.tls, "token": self.token_file, **options}
