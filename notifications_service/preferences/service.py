"""The rules of preferences and categories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NoReturn, Protocol

from chassis.errors import EtagMismatch
from notifications_service.errors import CategoryMandatory, CategoryNotFound, PreferencesFull
from notifications_service.mongodb.codec import Document
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.model import ANY, MOST_ENTRIES, Category, EntryKey, Mode, Preferences
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.preferences.unsubscribe import UnsubscribeTokens

# What an unsubscribe is tried for whose token says nothing.
_NOTHING: Final = ("email", "")


class UserCheck(Protocol):
    """Checks that recipients exist."""

    async def check(self, fields: Mapping[str, str]) -> None:
        """Raise RecipientNotFound where a field names no user."""
        ...


class PreferenceService:
    """Reads and changes what users want to be sent."""

    def __init__(
        self,
        preferences: PreferencesRepository,
        categories: CategoriesRepository,
        recipients: UserCheck,
        tokens: UnsubscribeTokens,
    ) -> None:
        self._preferences = preferences
        self._categories = categories
        self._recipients = recipients
        self._tokens = tokens

    async def get(self, user_id: str) -> Preferences:
        """Return a user's preferences; the defaults where the user never set any, or does not exist."""
        return (await self._preferences.of_users([user_id]))[user_id]

    async def update(self, user_id: str, changes: Document, modes: Mapping[EntryKey, Mode], etag: str) -> Preferences:
        """Set fields of a user's preferences; ``modes``: those of the entries among them.

        Raises RecipientNotFound, UsersServiceUnavailable, CategoryMandatory, or EtagMismatch.
        """
        await self._recipients.check({"preferences.user_id": user_id})
        await self._require_optional(category for (_, category), mode in modes.items() if mode is Mode.OFF)
        updated = await self._preferences.update(user_id, changes, etag)
        if updated is None:
            raise EtagMismatch((await self.get(user_id)).etag)
        return updated

    async def set(self, user_id: str, key: EntryKey, mode: Mode | None) -> Preferences:
        """Set a user's entry for a channel and category, or remove it.

        Raises RecipientNotFound, UsersServiceUnavailable, CategoryMandatory, or PreferencesFull.
        """
        await self._recipients.check({"user_id": user_id})
        if mode is None:
            return await self._preferences.remove_entry(user_id, key) or await self.get(user_id)
        if mode is Mode.OFF:
            await self._require_optional([key[1]])
        found = await self._preferences.set_entry(user_id, key, mode, MOST_ENTRIES)
        if found.modes.get(key) is not mode:
            raise PreferencesFull(MOST_ENTRIES)
        return found

    async def unsubscribe(self, token: str) -> None:
        """Switch off what a token is about; a token that was not issued costs the same and changes nothing.

        Whether the user exists, or how many entries there are, is not asked: it holds.
        """
        found = self._tokens.read(token)
        if found is None:
            await self._preferences.touch_nobody(_NOTHING, Mode.OFF)
        else:
            await self._preferences.set_entry(found.user_id, (found.channel, found.category), Mode.OFF)

    async def _require_optional(self, names: Iterable[str]) -> None:
        """Raise CategoryMandatory where one of the names is of a mandatory category."""
        named = set(names) - {ANY}
        found = await self._categories.by_names(named)
        for name in sorted(named):
            if found[name].mandatory:
                raise CategoryMandatory(name)


class CategoryService:
    """Registers, lists and deletes categories."""

    def __init__(self, categories: CategoriesRepository) -> None:
        self._categories = categories

    async def put(self, name: str, values: Document, etag: str) -> tuple[Category, bool]:
        """Store all of a category; return it, and whether it was not there before. Raises EtagMismatch."""
        return await self._categories.put(name, values, etag) or await self._raise_mismatch(name)

    async def page(self, after: str, size: int, *, include_deleted: bool) -> list[Category]:
        """Return ``size`` categories by name, after the name ``after``, and one more if there is one."""
        return await self._categories.page(after, size + 1, include_deleted=include_deleted)

    async def delete(self, name: str, etag: str, *, allow_missing: bool) -> None:
        """Delete a category; its rules hold. Raises CategoryNotFound unless ``allow_missing``, or EtagMismatch."""
        if await self._categories.delete(name, etag):
            return
        found = (await self._categories.by_names([name]))[name]
        if etag and found.is_there:
            raise EtagMismatch(found.etag)
        if not allow_missing:
            raise CategoryNotFound(name)

    async def _raise_mismatch(self, name: str) -> NoReturn:
        raise EtagMismatch((await self._categories.by_names([name]))[name].etag)
