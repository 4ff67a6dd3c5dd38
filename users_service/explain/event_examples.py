"""Examples of the statements on events of users."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from users_service.events import repository as events
from users_service.events.model import OrderState, Place, UserEventKind
from users_service.explain.examples import Example

_PLACE: Final = Place(bytes(16), 10, 0)
_SOME: Final = OrderState(_PLACE, 0, [11, 12])
_MANY: Final = OrderState(_PLACE, 0, list(range(11, 11 + events.BATCH)))

EVENTS: Final = (
    Example("events.record", lambda c, _, v: events.record(c, UserEventKind.CHANGED, v.user.id, 1, v.now)),
    Example("events.look", lambda c, *_: events.look(c)),
    Example("events.number", lambda c, *_: events.number(c, _SOME), "some"),
    Example("events.number", lambda c, *_: events.number(c, _MANY), "many"),
    Example("events.following", lambda c, *_: events.following(c, 10, 257)),
    Example("events.waiting_since", lambda c, *_: events.waiting_since(c), rows=[None]),
    Example("events.begin_history", lambda c, *_: events.begin_history(c, bytes(16)), rows=[0]),
    Example("events.count_older", lambda c, _, v: events.count_older(c, v.now)),
    Example(
        "events.remove_older",
        lambda c, _, v: events.remove_older(c, v.now, 1_000),
        rows=[(10, datetime(2000, 1, 1, tzinfo=UTC))],
    ),
)
