"""Sealing of all subscriptions under the newest key, beside live traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from chassis.commands.left import Left
from chassis.keyring import CiphertextInvalid, KeyMissing
from notifications_service.mongodb.codec import Document
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository

# Rows that are read at a time.
BATCH: Final = 500


@dataclass(slots=True)
class Resealed:
    """How many rows were sealed anew, and those that were left: their key is gone, or they were damaged."""

    done: int = 0
    keyless: Left = field(default_factory=Left)
    damaged: Left = field(default_factory=Left)


async def reseal_all(repository: PushSubscriptionRepository, seal: Seal) -> Resealed:
    """Seal every row anew that an older key sealed; may be cut off and repeated.

    A row that cannot be opened is left as it is. One that is renewed or deleted meanwhile needs nothing more.
    """
    result, last = Resealed(), ""
    while rows := await repository.seals_after(last, BATCH):
        for row in rows:
            await _reseal(repository, seal, row, result)
        last = rows[-1]["_id"]
    return result


async def _reseal(repository: PushSubscriptionRepository, seal: Seal, row: Document, result: Resealed) -> None:
    try:
        if not seal.is_current(row):
            result.done += await repository.reseal(row, seal.again(row))
    except KeyMissing:
        result.keyless.add(row["_id"])
    except CiphertextInvalid:
        result.damaged.add(row["_id"])
