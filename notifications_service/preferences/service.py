"""The rules of preferences and categories."""

from __future__ import annotations

from notifications_service.preferences.model import Preferences
from notifications_service.preferences.repository import PreferencesRepository


class PreferenceService:
    """Reads and changes what users want to be sent."""

    def __init__(self, preferences: PreferencesRepository) -> None:
        self._preferences = preferences

    async def get(self, user_id: str) -> Preferences:
        """Return a user's preferences; the defaults where the user never set any, or does not exist."""
        return (await self._preferences.of_users([user_id]))[user_id]
