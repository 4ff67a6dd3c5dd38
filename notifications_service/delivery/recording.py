"""Recording of outcomes: those that come together are settled together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from chassis.batching.coalesce import Coalescer
from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.delivery.leased import Leased
from notifications_service.delivery.numbers import Numbers
from notifications_service.mongodb.codec import Document
from notifications_service.outbox.changes import Change
from notifications_service.outbox.repository import Decide, OutboxRepository

BATCH: Final = 100
# Between attempts at recording while the database is away.
_PAUSE_SECONDS: Final = 0.5

log = logging.get(__name__)


class _Finished:
    """What becomes of one row; two of them are never equal."""

    __slots__ = ("change", "decide", "key", "lease", "user_id")

    def __init__(self, lease: str, key: str, decide: Decide, user_id: str | None) -> None:
        self.lease = lease
        self.key = key
        self.user_id = user_id
        self.decide = decide
        self.change: Change | None = None

    def __call__(self, row: Document) -> Change | None:
        """Decide, and keep what was decided last: it may be decided again, on the row as it is then."""
        self.change = self.decide(row)
        return self.change


class OutcomeRecorder:
    """Settles rows; ``timeout``: seconds for those that are settled together."""

    def __init__(self, outbox: OutboxRepository, numbers: Numbers, timeout: float) -> None:
        self._outbox = outbox
        self._numbers = numbers
        self._gathered: Coalescer[_Finished, bool] = Coalescer(
            self._settle, max_batch=BATCH, max_in_flight=1, timeout=timeout
        )

    async def record(self, batch: Leased, row: Document, decide: Decide) -> None:
        """Settle a row, as long as its lease holds; afterwards it is another worker's, or nobody's."""
        key = row["_id"]
        finished = _Finished(batch.lease, key, decide, row.get("userId"))
        while batch.holds:
            try:
                found = await self._gathered.get(finished)
            except ServiceError as error:
                log.warning("outcome not recorded yet", delivery=key, reason=error.reason)
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if found and finished.change is not None:
                self._numbers.note(finished.change)
                return
            break
        # Purged, or taken over: whoever has it now goes on.
        self._numbers.lost[row["channel"]] += 1
        log.warning("delivery left to another worker", delivery=key)

    async def _settle(self, finished: list[_Finished]) -> Mapping[_Finished, bool | Exception]:
        found: dict[_Finished, bool | Exception] = {}
        for lease in dict.fromkeys(each.lease for each in finished):
            found |= await self._settle_of(lease, [each for each in finished if each.lease == lease])
        return found

    async def _settle_of(self, lease: str, finished: list[_Finished]) -> Mapping[_Finished, bool | Exception]:
        try:
            mine = await self._outbox.complete(
                lease, {each.key: each for each in finished}, {each.user_id for each in finished}
            )
            # What an earlier attempt has changed, though it ended in an error, is not under the lease any more.
            tried = [each.change for each in finished if each.key not in mine and each.change is not None]
            if tried:
                mine |= await self._outbox.seen(tried)
        except ServiceError:
            raise
        except Exception as error:  # noqa: BLE001 - it is told to whom it belongs, and logged there
            if len(finished) == 1:
                return {finished[0]: error}
            # What is wrong with one is not the others' trouble.
            return {each: (await self._settle_of(lease, [each]))[each] for each in finished}
        return {each: each.key in mine for each in finished}
