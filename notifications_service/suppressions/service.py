"""The rules of the suppression list, as its operators see it."""

from __future__ import annotations

from collections.abc import Collection

from chassis.contract import keyset
from notifications_service.clock import MillisecondClock
from notifications_service.errors import SuppressionNotFound
from notifications_service.mongodb.newest_first import RowKey
from notifications_service.notification.filters import BoundTime
from notifications_service.suppressions.model import Suppression, SuppressionFilter, SuppressionReason
from notifications_service.suppressions.repository import SuppressionRepository


class SuppressionService:
    """Lists and deletes suppressions."""

    def __init__(self, repository: SuppressionRepository, clock: MillisecondClock) -> None:
        self._repository = repository
        self._clock = clock

    async def page(
        self, chosen: SuppressionFilter, after: RowKey | None, size: int
    ) -> tuple[list[Suppression], RowKey | None]:
        """Return ``size`` suppressions that match, newest first, after a key, and the key of the next page."""
        rows = await self._repository.page(chosen, after, self._clock(), size + 1)
        page, last = keyset.cut(rows, size, lambda row: row[0])
        return [found for _, found in page], last

    async def count(self, chosen: SuppressionFilter) -> int:
        """Return how many suppressions match."""
        return await self._repository.count(chosen, self._clock())

    async def delete(
        self,
        address: str,
        reasons: Collection[SuppressionReason],
        *,
        before: BoundTime | None = None,
        allow_missing: bool = False,
    ) -> None:
        """Take an address off the list, for these reasons, as far as that began ``before``; None: whenever.

        Raises SuppressionNotFound unless ``allow_missing``.
        """
        if not await self._repository.delete(address, reasons, self._clock(), before) and not allow_missing:
            raise SuppressionNotFound
