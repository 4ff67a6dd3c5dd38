"""Sealing of all subscriptions under the newest key, beside live traffic."""

from __future__ import annotations

from typing import Final

from chassis.commands.resealed import Resealed
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository

# Rows that are read at a time.
BATCH: Final = 500


async def reseal_all(repository: PushSubscriptionRepository, seal: Seal) -> Resealed:
    """Seal every row anew that an older key sealed; may be cut off and repeated.

    A row that cannot be opened is left as it is. One that is renewed or deleted meanwhile needs nothing more.
    """
    result, last = Resealed(), ""
    while rows := await repository.seals_after(last, BATCH):
        for row in rows:
            with result.leaving(row["_id"]):
                if not seal.is_current(row):
                    result.done += await repository.reseal(row, seal.again(row))
        last = rows[-1]["_id"]
    return result
