"""The history of made-up notifications: the older one is, the likelier it was seen, read and archived."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random
from typing import Final

from bson import ObjectId

from chassis.commands.fake_people import moment
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.notification.documents import Draft, Type
from notifications_service.notification.states import FIELDS, State

_DAY: Final = timedelta(days=1)


def document(chance: Random, draft: Draft, at: datetime, now: datetime) -> Document:
    """Return a notification created at ``at`` as it is stored ``now``; both naive, in UTC."""
    made = documents.new(draft, at)
    made["_id"] = _object_id(chance, at)
    _advance(chance, made, _state(chance, (now - at) / _DAY), at, now)
    if draft.type is not Type.IN_APP:
        _deliver(chance, made, at, now)
    return made


def _object_id(chance: Random, at: datetime) -> ObjectId:
    seconds = documents.milliseconds(at) // 1_000
    return ObjectId(seconds.to_bytes(4) + chance.randbytes(8))


def _state(chance: Random, days: float) -> State:
    # An hour old: one in three was seen; a week old: nine in ten.
    noticed = min(0.92, 0.33 + days / 12)
    drawn = chance.random()
    if drawn > noticed:
        return State.UNSEEN
    if drawn > noticed * 0.75:
        return State.SEEN
    return State.READ if drawn > noticed * 0.12 else State.ARCHIVED


def _advance(chance: Random, made: Document, state: State, at: datetime, now: datetime) -> None:
    """Set each state up to ``state`` in its order, each at a time of its own."""
    for reached, flag, time in reversed(FIELDS):
        if state >= reached:
            at = moment(chance, at, min(now, at + 2 * _DAY), lateness=0.5)
            made.update({flag: True, time: at, "updatedAt": at, "rev": made["rev"] + 1})


def _deliver(chance: Random, made: Document, at: datetime, now: datetime) -> None:
    """Set how sending it ended. Nothing is left to be sent: nobody must receive made-up notifications."""
    drawn = chance.random()
    if drawn < 0.05:
        state = DeliveryState.CANCELLED if drawn < 0.02 else DeliveryState.SUPPRESSED
        made["delivery"] = {"state": state.value, "attempts": 0}
        return
    tried = min(now, at + timedelta(milliseconds=chance.randint(200, 9_000)))
    failed = drawn < 0.09
    state = DeliveryState.FAILED if failed else DeliveryState.SENT
    made["delivery"] = {"state": state.value, "attempts": 8 if failed else 1, "lastAttemptAt": tried}
    if not failed:
        made["sentAt"] = tried
