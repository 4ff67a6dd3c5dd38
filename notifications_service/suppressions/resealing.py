"""Sealing of the whole suppression list under the newest key, beside live traffic."""

from __future__ import annotations

from typing import Final

from chassis.commands.resealed import Resealed
from notifications_service.suppressions.repository import SuppressionRepository

# Rows that are read at a time.
BATCH: Final = 500


async def reseal_list(repository: SuppressionRepository) -> Resealed:
    """Seal every suppression anew that an older key sealed; may be cut off and repeated.

    One that cannot be opened is left as it is. One whose address is not known holds only as long as its key is there.
    """
    result, last = Resealed(), ""
    while rows := await repository.after(last, BATCH):
        for row in rows:
            with result.leaving(row["_id"]):
                result.done += await repository.reseal(row["_id"])
        last = rows[-1]["_id"]
    return result
