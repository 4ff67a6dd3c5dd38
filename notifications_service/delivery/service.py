"""The rules of DeliveryService, and its transactions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from chassis.contract import keyset
from chassis.pooling import batches
from chassis.pooling.batches import Batch, Batches, Pace, Written
from notifications_service.clock import MillisecondClock
from notifications_service.delivery.steering import Beside, SteeringStep, Untouched
from notifications_service.errors import DeliveryNotFound, DeliveryStateConflict
from notifications_service.mongodb import newest_first
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.mongodb.newest_first import RowKey
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import filters
from notifications_service.outbox.changes import Change
from notifications_service.outbox.filters import DeliveryFilter
from notifications_service.outbox.model import Kind
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.repository import OutboxRepository

# Rows that one transaction steers: few enough that workers who claim meanwhile hardly ever undo it.
STEER_BATCH = 500


@dataclass(frozen=True, slots=True)
class Steered:
    """What became of one delivery: where it stands, and why it was left as it was; None: it changed."""

    id: str
    state: str = ""
    left: Untouched | None = None


@dataclass(frozen=True, slots=True)
class SteeredBatch:
    """What became of a batch, as far as it came; ``outcomes`` only where it was by ids."""

    written: Written
    outcomes: Sequence[Steered] = ()


class DeliveryService:
    """Reads deliveries, cancels them and queues them again."""

    def __init__(
        self,
        database: Database,
        stored: DeliveryReads,
        outbox: OutboxRepository,
        *,
        clock: MillisecondClock,
        stopping: Callable[[], bool],
    ) -> None:
        """``stopping``: whether this process is about to end; work on many rows then answers what it has done."""
        self._database = database
        self._stored = stored
        self._outbox = outbox
        self._clock = clock
        self._stopping = stopping

    async def get(self, id_: str, user_id: str = "") -> Document:
        """Return a delivery, of that user if one is given. Raises DeliveryNotFound."""
        found = await self._stored.get(id_)
        if found is None or (user_id and found.get("userId") != user_id):
            raise DeliveryNotFound(id_)
        return found

    async def page(
        self, chosen: DeliveryFilter, after: RowKey | None, size: int
    ) -> tuple[list[Document], RowKey | None]:
        """Return ``size`` deliveries that match, newest first, after a key, and the key of the next page."""
        rows = await self._stored.page(chosen, after, size + 1)
        return keyset.cut(rows, size, newest_first.key_of)

    async def count(self, chosen: Sequence[DeliveryFilter]) -> list[int]:
        """Return how many deliveries match each filter; without any how many there are."""
        return await self._stored.count(chosen or [filters.EVERYTHING])

    async def steer(self, id_: str, step: SteeringStep) -> Document:
        """Carry out a step of one delivery and return it. Raises DeliveryNotFound or DeliveryStateConflict."""

        async def work(session: ClientSession) -> Document:
            [outcome] = await self._steer_in(session, [id_], step)
            if outcome.left is Untouched.NOT_FOUND:
                raise DeliveryNotFound(id_)
            if outcome.left is Untouched.CONFLICT:
                raise DeliveryStateConflict
            return (await self._stored.get_in(session, [id_]))[id_]

        return await self._database.transaction(work)

    async def steer_each(self, ids: Sequence[str], step: SteeringStep) -> SteeredBatch:
        """Carry out a step of deliveries by id; say of each what happened, as far as there was time."""
        outcomes: list[Steered] = []
        written = await batches.write(self._steering_each(ids, step, outcomes), self._stopping)
        return SteeredBatch(written, outcomes)

    async def _steering_each(self, ids: Sequence[str], step: SteeringStep, outcomes: list[Steered]) -> Batches:
        pace, start = Pace(STEER_BATCH), 0
        while start < len(ids):
            part = ids[start : start + pace.size]
            steered = await self._steer(part, step)
            outcomes += steered
            start += len(part)
            yield Batch(sum(outcome.left is None for outcome in steered), is_last=start >= len(ids))
            pace.step()

    async def steer_all(self, chosen: DeliveryFilter, step: SteeringStep) -> SteeredBatch:
        """Carry out a step of all deliveries that match; say how many, and whether time was up before the end."""
        within = chosen.within(step.sources)
        if within.is_contradiction:
            return SteeredBatch(Written(0))
        return SteeredBatch(await batches.write(self._steering(within, step), self._stopping))

    async def _steering(self, chosen: DeliveryFilter, step: SteeringStep) -> Batches:
        """Yield batches, newest first; where newcomers count, again from the newest on until nothing is left to do."""
        pace, after, changed = Pace(STEER_BATCH), None, 0
        while True:
            keys = await self._stored.keys(chosen, after, pace.size)
            done = sum(outcome.left is None for outcome in await self._steer([id_ for _, id_ in keys], step))
            changed += done
            is_end = len(keys) < pace.size
            is_last = is_end and not (step.takes_newcomers and changed)
            yield Batch(done, is_last=is_last)
            if is_last:
                return
            after, changed = (None, 0) if is_end else (keys[-1], changed)
            pace.step()

    async def _steer(self, ids: Sequence[str], step: SteeringStep) -> list[Steered]:
        if not ids:
            return []
        return await self._database.transaction(lambda session: self._steer_in(session, ids, step))

    async def _steer_in(self, session: ClientSession, ids: Sequence[str], step: SteeringStep) -> list[Steered]:
        rows = await self._stored.get_in(session, ids)
        there: Collection[ObjectId] = ()
        if step.needs_content:
            keys = {row["notificationId"] for row in rows.values() if "notificationId" in row}
            there = await self._stored.notifications_in(session, keys)
        beside = Beside(there, await self._digests_in(session, rows))
        steered = Steering(step, beside, self._clock())
        # Digests first, since what they carry follows them.
        order = sorted(ids, key=lambda id_: rows.get(id_, {}).get("kind") != Kind.DIGEST.value)
        outcomes = {id_: steered.take(id_, rows.get(id_)) for id_ in order}
        await self._outbox.settle_in(session, steered.changes)
        return [outcomes[id_] for id_ in ids]

    async def _digests_in(self, session: ClientSession, rows: Mapping[str, Document]) -> dict[str, Document]:
        """Return the digests that rows name."""
        named = {row["digestDeliveryId"] for row in rows.values() if "digestDeliveryId" in row}
        there = {key: rows[key] for key in named & rows.keys()}
        return there | (await self._stored.get_in(session, named - there.keys()) if named - there.keys() else {})


class Steering:
    """What a step makes of rows that were read together; items whose digest it changes follow that."""

    def __init__(self, step: SteeringStep, beside: Beside, at: datetime) -> None:
        self._step = step
        self._beside = beside
        self._at = at
        self._made: dict[str, Change] = {}

    @property
    def changes(self) -> Sequence[Change]:
        """All changes. Those of a digest's items touch the digest, so that they conflict with its claim."""
        left = {change.row.get("digestDeliveryId") for change in self._made.values()} - self._made.keys()
        touched = [Change(digest, {}) for key, digest in self._beside.digests.items() if key in left]
        return [*self._made.values(), *touched]

    def take(self, id_: str, row: Document | None) -> Steered:
        """Decide about a row, and say what became of it."""
        if row is None:
            return Steered(id_, left=Untouched.NOT_FOUND)
        if (leading := self._leading(row)) is not None:
            return Steered(id_, leading.state.value)
        decision = self._step.decide(row, self._beside, self._at)
        if isinstance(decision, Untouched):
            return Steered(id_, row["state"], decision)
        self._made[id_] = decision
        return Steered(id_, decision.state.value)

    def _leading(self, row: Document) -> Change | None:
        """Return the change of the digest that a row follows."""
        if DeliveryState(row["state"]) not in self._step.sources:
            return None
        return self._made.get(row.get("digestDeliveryId", ""))
