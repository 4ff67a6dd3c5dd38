"""The check that no key is removed while subscriptions were made with it.

Messages to these could not be signed any more, and their browsers would not hear of it: nobody is told to subscribe
again. So a server does not start without such a key, unless a setting says that it is gone.
"""

from __future__ import annotations

from chassis.serving.lifecycle import StartFailed
from notifications_service.mongodb.database import Database
from notifications_service.push_subscriptions.repository import key_beside
from notifications_service.push_subscriptions.settings import PushSettings


class PushKeyCheck:
    """Asks the database once, at the start or as soon as it is there: one look into an index for each known key."""

    def __init__(self, settings: PushSettings) -> None:
        self._known = frozenset(settings.push_keys.by_id) | settings.push_keys_given_up
        self._passed = False

    async def check(self, database: Database) -> None:
        """Raise StartFailed, which names a key that is missing. Errors of the database pass."""
        if self._passed:
            return
        if (key_id := await key_beside(database, self._known)) is not None:
            raise StartFailed(
                f"WEB_PUSH_KEYS: push subscriptions were made with the key {key_id!r}, which is not there: put it "
                "back, or name it in WEB_PUSH_KEYS_GIVEN_UP, and no message reaches them any more"
            )
        self._passed = True
