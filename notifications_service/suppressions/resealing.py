"""Sealing of the whole suppression list under the newest key, beside live traffic."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from chassis.commands.left import Left
from chassis.keyring import CiphertextInvalid, KeyMissing
from notifications_service.suppressions.repository import SuppressionRepository

# Rows that are read at a time.
BATCH: Final = 500


@dataclass(slots=True)
class ResealedList:
    """How many suppressions were sealed anew, and those that were left."""

    done: int = 0
    keyless: Left = field(default_factory=Left)
    damaged: Left = field(default_factory=Left)


async def reseal_list(repository: SuppressionRepository) -> ResealedList:
    """Seal every suppression anew that an older key sealed; may be cut off and repeated.

    One that cannot be opened is left as it is. One whose address is not known holds only as long as its key is there.
    """
    result, last = ResealedList(), ""
    while rows := await repository.after(last, BATCH):
        for row in rows:
            try:
                result.done += await repository.reseal(row["_id"])
            except KeyMissing:
                result.keyless.add(row["_id"])
            except CiphertextInvalid:
                result.damaged.add(row["_id"])
        last = rows[-1]["_id"]
    return result
