"""Existence of recipients: the users service is asked for many at a time, and its answers are cached for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from chassis.batching.coalesce import Coalescer
from chassis.logs import logging
from notifications_service.errors import RecipientNotFound, UsersServiceUnavailable
from notifications_service.users_client import MAX_IDS

# The size of the cache, about 20 MB; the oldest answer is dropped first.
CACHE_SIZE: Final = 100_000


class Users(Protocol):
    """The users service, as asked here."""

    async def missing(self, user_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that name no user. Raises UsersServiceUnavailable."""
        ...


class Recipients:
    """Refuses recipients that do not exist.

    ``timeout``: seconds for the users service to answer. ``known`` and ``unknown``: seconds for which a yes and a no
    are cached. ``lenient``: accept everyone while it does not answer.
    """

    def __init__(self, users: Users, *, timeout: float, known: float, unknown: float, lenient: bool) -> None:
        self._users = users
        self._lifetime = {True: known, False: unknown}
        self._lenient = lenient
        self._cache: dict[str, tuple[bool, float]] = {}
        self._changes = 0
        self._asked: Coalescer[str, bool] = Coalescer(
            self._ask, max_batch=MAX_IDS, timeout=timeout, timed_out=UsersServiceUnavailable
        )

    async def check(self, fields: Mapping[str, str]) -> None:
        """Check the users that request fields name (``fields``: field → user id).

        Raises RecipientNotFound with a violation for each field, or UsersServiceUnavailable.
        """
        missing = await self.unknown(fields.values())
        if missing:
            raise RecipientNotFound({field: user_id for field, user_id in fields.items() if user_id in missing})

    async def unknown(self, user_ids: Iterable[str]) -> set[str]:
        """Return those of the ids that name no user. Raises UsersServiceUnavailable."""
        exists = await self._exist(set(user_ids))
        return {user_id for user_id, known in exists.items() if not known}

    def forget(self, user_id: str) -> None:
        """Drop the cached answer for a user that was deleted."""
        self._cache.pop(user_id, None)
        # An answer that is on its way may be older than the deletion.
        self._changes += 1

    async def _exist(self, user_ids: Iterable[str]) -> dict[str, bool]:
        found = {user_id: self._remembered(user_id) for user_id in user_ids}
        asked = {user_id: self._asked.get(user_id) for user_id, known in found.items() if known is None}
        answers: Sequence[bool | BaseException | None] = []
        if asked:
            answers = await asyncio.gather(*asked.values(), return_exceptions=True)
        for user_id, answer in zip(asked, answers, strict=True):
            found[user_id] = self._accepted(answer)
        return {user_id: bool(known) for user_id, known in found.items()}

    def _accepted(self, answer: bool | BaseException | None) -> bool:
        if isinstance(answer, UsersServiceUnavailable) and self._lenient:
            logging.get(__name__).warning("recipient accepted unasked", reason=answer.reason)
            return True
        if isinstance(answer, BaseException):
            raise answer
        return bool(answer)

    def _remembered(self, user_id: str) -> bool | None:
        exists, until = self._cache.get(user_id, (None, 0.0))
        return exists if time.monotonic() < until else None

    async def _ask(self, user_ids: list[str]) -> dict[str, bool]:
        changes = self._changes
        missing = await self._users.missing(user_ids)
        answers = {user_id: user_id not in missing for user_id in user_ids}
        if changes == self._changes:
            self._remember(answers)
        return answers

    def _remember(self, answers: Mapping[str, bool]) -> None:
        now = time.monotonic()
        for user_id, exists in answers.items():
            self._cache.pop(user_id, None)
            self._cache[user_id] = (exists, now + self._lifetime[exists])
        while len(self._cache) > CACHE_SIZE:
            del self._cache[next(iter(self._cache))]


class Anyone:
    """Accepts every recipient (RECIPIENT_CHECK=off)."""

    async def check(self, fields: Mapping[str, str]) -> None:
        """Accept."""

    async def unknown(self, user_ids: Iterable[str]) -> set[str]:  # noqa: ARG002
        """Know no unknown."""
        return set()

    def forget(self, user_id: str) -> None:
        """Know nothing."""
