"""The worker of one channel: it takes what is due, decides, sends and records, a batch at a time.

A delivery is sent at least once, and by two workers only where the lease of one has run out (docs/decisions/0082).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

from chassis.background import end
from chassis.errors import ServiceError
from chassis.logs import logging
from notifications_service.delivery import settling
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.delivery.digesting import Digesting
from notifications_service.delivery.facts import Facts, FactSources
from notifications_service.delivery.leased import Leased
from notifications_service.delivery.numbers import Numbers
from notifications_service.delivery.outlets import Outlet
from notifications_service.delivery.recording import OutcomeRecorder
from notifications_service.delivery.rules import DeliveryRules, End, Join, Wait
from notifications_service.delivery.settling import Try
from notifications_service.delivery.to_send import ToSend
from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import Deferral, Lane, Reason
from notifications_service.outbox.repository import Admit, Decide, OutboxRepository

# Deliveries of one claim.
BATCH: Final = 100
# The next claim is made when so few are still to be sent, or twice what is sent at a time: by the time at which these
# are on their way, the next ones are there.
AHEAD: Final = BATCH // 2
# Batches that are in hand at a time: of what was sent, not too much waits to be recorded.
BATCHES: Final = 4

log = logging.get(__name__)


class Worker:
    """Delivers by one channel, until it is told to stop."""

    def __init__(
        self,
        outlet: Outlet,
        outbox: OutboxRepository,
        sources: FactSources,
        rules: DeliveryRules,
        *,
        poll: timedelta,
        lease: timedelta,
        numbers: Numbers,
        admit: Admit | None = None,
    ) -> None:
        """``poll``: how often to look for what became due; ``lease``: how long what was taken is its own.

        ``admit``: asked for each batch how many deliveries may be taken.
        """
        self._admit = admit
        self._outlet = outlet
        self._outbox = outbox
        self._sources = sources
        self._rules = rules
        self._clock = sources.clock
        self._poll = poll.total_seconds()
        self._lease = lease
        self._numbers = numbers
        self._recorder = OutcomeRecorder(outbox, numbers, lease.total_seconds())
        self._digesting = Digesting(sources, rules) if outlet.has_digests else None
        # They take turns, so that neither keeps the other waiting, however much of one is due.
        self._lanes = deque[Lane | None]([None, Lane.DIGEST] if outlet.has_digests else [None])
        # Whether others were left when the longest due were taken. Then it is the turn of what came due last, which
        # does not stand behind the others, however many they are.
        self._is_behind = False
        self._slots = asyncio.Semaphore(outlet.concurrency)
        self._to_send = ToSend()
        # How many may still be to be sent when more are taken.
        self.ahead = max(AHEAD, 2 * outlet.concurrency)
        self._batches: set[asyncio.Task[None]] = set()
        self._due = asyncio.Event()
        self._stopping = False

    def wake(self) -> None:
        """Look now: something has just been stored."""
        self._due.set()

    async def run(self) -> None:
        """Deliver until ``stop``."""
        while not self._stopping:
            if not await self._round():
                await self._wait()
        if self._batches:
            # ``stop`` does not know of what was being claimed when it came; that is given back.
            await asyncio.wait(self._batches)

    async def stop(self, seconds: float) -> None:
        """Take no more, give back what nothing was tried on, and let attempts end within so many seconds."""
        self._stopping = True
        self.wake()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                # One that was being claimed, too.
                while self._batches:
                    await asyncio.wait(self._batches)
        # The outcome of what is cancelled here stays unknown; its lease runs out.
        await end(self._batches)

    async def drain(self) -> None:
        """Deliver what is due now, and return once it is done."""
        while await self._round():
            await asyncio.gather(*self._batches)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._poll):
                await self._due.wait()
        except TimeoutError:
            pass
        self._due.clear()

    async def _round(self) -> bool:
        """Take a batch and work on it; return whether there was one, once it is time for the next."""
        # While nobody can say who they are for, nothing is claimed only to be put off.
        most = 0 if self._sources.users.is_away else self._outlet.most
        try:
            batch = None if most == 0 else await self._claimed(BATCH if most is None else most)
        except ServiceError as error:
            log.warning("nothing claimed", channel=self._outlet.channel, reason=error.reason)
            return False
        except Exception:
            log.exception("nothing claimed", channel=self._outlet.channel)
            return False
        if batch is None:
            return False
        self._numbers.take(self._outlet.channel, batch.rows)
        self._to_send.put(batch.lease, batch.in_hand)
        work = asyncio.create_task(self._work(batch))
        self._batches.add(work)
        work.add_done_callback(self._batches.discard)
        await self._to_send.at_most(self.ahead)
        while len(self._batches) >= BATCHES:
            await asyncio.wait(self._batches, return_when=asyncio.FIRST_COMPLETED)
        return True

    async def _claimed(self, most: int) -> Leased | None:
        """Take a batch of the lane whose turn it is, or else of the other; None: nothing is due."""
        for lane in tuple(self._lanes):
            batch = Leased(self._outbox, self._outlet.channel, self._lease, lane)
            newest = lane is None and self._is_behind
            if await batch.claim(most, self._admit, newest=newest):
                self._lanes.remove(lane)
                self._lanes.append(lane)
                if lane is None:
                    is_all = self._admit is None and len(batch.rows) < most
                    self._is_behind = not newest and not is_all
                return batch
        return None

    async def _work(self, batch: Leased) -> None:
        keeping = asyncio.create_task(batch.keep())
        try:
            facts = await self._facts(batch.rows)
            if facts is None or self._digesting is None:
                await asyncio.gather(*(self._one(batch, row, facts) for row in batch.rows))
            else:
                await self._prepared(batch, facts, self._digesting)
        except ServiceError as error:
            log.warning("deliveries put off", channel=self._outlet.channel, reason=error.reason)
            batch.unsent |= batch.untried
            # Whatever is away, it is not asked again at once.
            await asyncio.sleep(self._poll)
        except asyncio.CancelledError:
            batch.unsent |= batch.untried
            raise
        except Exception:
            log.exception("deliveries put off", channel=self._outlet.channel)
        finally:
            await end([keeping])
            await batch.give_back()
            self._to_send.remove_all(batch.lease)

    async def _prepared(self, batch: Leased, facts: Facts, digesting: Digesting) -> None:
        """Put together the digests of a batch, and send all that is to be sent."""
        made = await digesting.prepare(batch, facts)
        self._to_send.put(batch.lease, batch.in_hand)
        failed = (self._failed(batch, row) for row in made.rows if row["_id"] in made.failed)
        ones = (self._one(batch, row, made.facts) for row in made.rows if row["_id"] not in made.failed)
        await asyncio.gather(*failed, *ones)
        if made.has_digests:
            await digesting.follow()

    async def _failed(self, batch: Leased, row: Document) -> None:
        """Count an attempt at what is poisonous to this code: it is given up in the end."""
        tries = [Try(Outcome(Reason.INTERNAL), self._clock(), self._clock())]
        try:
            await self._recorder.record(
                batch, row, lambda found: settling.settled(found, tries, self._rules.attempts, self._clock())
            )
        except Exception:
            log.exception("delivery failed", delivery=row["_id"])
        finally:
            batch.done(row["_id"])

    async def _facts(self, rows: Sequence[Document]) -> Facts | None:
        """Read the facts of a batch; None: what was read for one of them is poisonous, so each is to be read alone."""
        try:
            return await self._sources.of(self._outlet.channel, rows)
        except ServiceError:
            raise
        except Exception:
            log.exception("facts of a batch not read", channel=self._outlet.channel)
            return None

    async def _one(self, batch: Leased, row: Document, facts: Facts | None) -> None:
        try:
            decide = await self._decide(batch, row, facts)
            self._to_send.remove(batch.lease, row["_id"])
            if decide is not None:
                await self._recorder.record(batch, row, decide)
        except Exception:
            # It is left to the end of its lease, and counts as an attempt then; the others of the batch go on.
            log.exception("delivery failed", delivery=row["_id"])
        finally:
            batch.done(row["_id"])

    async def _decide(self, batch: Leased, row: Document, facts: Facts | None) -> Decide | None:
        """Send the row if it is to be sent; return what becomes of it, None where nothing was tried."""
        try:
            if facts is None:
                facts = await self._sources.of(self._outlet.channel, [row])
            judged = self._rules.judge(row, facts, self._clock())
            if isinstance(judged, End | Wait | Join):
                return lambda found: _unsent(found, judged, self._clock())
            # It is given back even where this is cancelled while it waits for its turn.
            batch.unsent.add(row["_id"])
            async with self._slots:
                if self._stopping or not batch.may_begin:
                    return None
                batch.begin(row["_id"])
                tries = await self._outlet.send(row, judged, facts, batch.seconds)
            await self._outlet.note(tries)
        except Exception:
            # A row that is poisonous to this code is tried again, by this or another version, and given up in the end.
            log.exception("delivery failed", delivery=row["_id"])
            tries = [Try(Outcome(Reason.INTERNAL), self._clock(), self._clock())]
        return lambda found: settling.settled(found, tries, self._rules.attempts, self._clock())


def _unsent(row: Document, judged: End | Wait | Join, now: datetime) -> Change:
    if isinstance(judged, End):
        return Change(row, changes.final(judged.state, judged.reason, now))
    if row.get("superseded"):
        return Change(row, changes.final(DeliveryState.CANCELLED, Reason.SUPERSEDED, now))
    if isinstance(judged, Join):
        # Its hour came while the rest of its batch was looked at.
        return Change(row, changes.pending(now, Deferral.DIGEST, row.get("expiresAt")))
    return Change(row, changes.pending(judged.until, judged.deferral, row.get("expiresAt")))
