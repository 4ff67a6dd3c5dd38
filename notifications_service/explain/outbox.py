"""Examples of the commands on deliveries."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final

from notifications_service.explain.example import Example, Values
from notifications_service.explain.explainer import Explainer
from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import New, stored
from notifications_service.outbox.repository import OutboxRepository


def _outbox(explainer: Explainer, values: Values) -> OutboxRepository:
    return OutboxRepository(explainer, values.clock)


def _delivery(values: Values) -> Document:
    new = New(values.key, values.user_id, "email", collapse_key="key")
    return stored(new, values.clock()) | {"lease": "lease"}


def _settle(explainer: Explainer, values: Values) -> Awaitable[Any]:
    row, at = _delivery(values), values.clock()
    made = changes.final(DeliveryState.SENT, None, at) | {"sentAt": at}
    return _outbox(explainer, values).settle_in(None, [Change(row, made)])  # type: ignore[arg-type]


def _complete(explainer: Explainer, values: Values) -> Awaitable[Any]:
    return _outbox(explainer, values).complete("lease", {"dlv_1": lambda _: None})


_SECOND: Final = timedelta(seconds=1)
OUTBOX: Final = (
    Example(
        "outbox.insert_in",
        lambda e, v: _outbox(e, v).insert_in(None, [_delivery(v)]),  # type: ignore[arg-type]
    ),
    Example("outbox.claim", lambda e, v: _outbox(e, v).claim("email", "lease", 100, _SECOND), finds=True),
    Example("outbox.of_lease", lambda e, v: _outbox(e, v).of_lease("lease", ["dlv_1"])),
    Example("outbox.renew", lambda e, v: _outbox(e, v).renew("lease", ["dlv_1"], _SECOND)),
    Example("outbox.release", lambda e, v: _outbox(e, v).release("lease", ["dlv_1"])),
    Example("outbox.take", lambda e, v: _outbox(e, v).rate("email", 10.0).take(100)),
    Example("outbox.backlog", lambda e, v: _outbox(e, v).backlog("email")),
    Example("outbox.complete", _complete),
    Example("outbox.settle_in", _settle),
    Example("outbox.follow", lambda e, v: _outbox(e, v).follow({"_id": v.key, "expiresAt": v.created_at})),
    Example("outbox.cancel_of", lambda e, v: _outbox(e, v).cancel_of([v.key]), finds=True),
    Example("outbox.delete_of_user", lambda e, v: _outbox(e, v).delete_of_user(v.user_id, 100), finds=True),
)
