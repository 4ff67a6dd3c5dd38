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
from notifications_service.outbox.digests import DigestRepository
from notifications_service.outbox.model import Lane, New, digest, stored
from notifications_service.outbox.repository import OutboxRepository


def _outbox(explainer: Explainer, values: Values) -> OutboxRepository:
    return OutboxRepository(explainer, values.clock)


def _delivery(values: Values) -> Document:
    new = New(values.key, values.user_id, "email", collapse_key="key")
    return stored(new, values.clock()) | {"lease": "lease"}


def _sent(row: Document, values: Values) -> Change:
    at = values.clock()
    return Change(row, changes.final(DeliveryState.SENT, None, at) | {"sentAt": at})


def _settle(explainer: Explainer, values: Values) -> Awaitable[Any]:
    return _outbox(explainer, values).settle_in(None, [_sent(_delivery(values), values)])  # type: ignore[arg-type]


def _complete(explainer: Explainer, values: Values) -> Awaitable[Any]:
    row = _delivery(values)
    explainer.rows = [row]
    decisions = {row["_id"]: lambda found: _sent(found, values)}
    return _outbox(explainer, values).complete("lease", decisions, [values.user_id])


def _digests(explainer: Explainer, values: Values) -> DigestRepository:
    return DigestRepository(explainer, _outbox(explainer, values), values.clock)


def _digest(values: Values) -> Document:
    at = values.clock()
    return digest(values.user_id, "news", at) | {"lease": "lease", "dueAt": at}


def _gather(explainer: Explainer, values: Values) -> Awaitable[Any]:
    # What the lease has: the rest follows from it.
    explainer.rows = [_delivery(values) | {"category": "news"}]
    return _digests(explainer, values).gather("lease", ["dlv_1"], _SECOND)


def _leave_out(explainer: Explainer, values: Values) -> Awaitable[Any]:
    return _digests(explainer, values).leave_out({"dlv_1": lambda _: {}})


def _settle_digest(explainer: Explainer, values: Values) -> Awaitable[Any]:
    made = changes.final(DeliveryState.SENT, None, values.clock())
    return _outbox(explainer, values).settle_in(None, [Change(_digest(values), made)])  # type: ignore[arg-type]


def _catch_up(explainer: Explainer, values: Values) -> Awaitable[Any]:
    explainer.rows = [{"_id": "dlv_1"}]
    return _digests(explainer, values).catch_up()


def _changed(values: Values) -> Document:
    return {"_id": values.key, "userId": values.user_id, "expiresAt": values.created_at}


_SECOND: Final = timedelta(seconds=1)
OUTBOX: Final = (
    Example(
        "outbox.insert_in",
        lambda e, v: _outbox(e, v).insert_in(None, [_delivery(v)]),  # type: ignore[arg-type]
    ),
    Example("outbox.claim", lambda e, v: _outbox(e, v).claim("email", "lease", 100, _SECOND), finds=True),
    Example(
        "outbox.claim",
        lambda e, v: _outbox(e, v).claim("email", "lease", 100, _SECOND, lane=Lane.DIGEST),
        "of what waits for digests",
    ),
    Example(
        "outbox.claim",
        lambda e, v: _outbox(e, v).claim("email", "lease", 100, _SECOND, newest=True),
        "of what came due last",
    ),
    Example("outbox.of_lease", lambda e, v: _outbox(e, v).of_lease("lease", ["dlv_1"], [v.user_id])),
    Example("outbox.renew", lambda e, v: _outbox(e, v).renew("lease", ["dlv_1"], _SECOND, [v.user_id])),
    Example("outbox.release", lambda e, v: _outbox(e, v).release("lease", ["dlv_1"], [v.user_id])),
    Example("outbox.take", lambda e, v: _outbox(e, v).rate("email", 10.0).take(100)),
    Example("outbox.backlog", lambda e, v: _outbox(e, v).backlog("email")),
    Example("outbox.complete", _complete),
    Example("outbox.seen", lambda e, v: _outbox(e, v).seen([_sent(_delivery(v), v)])),
    Example("outbox.settle_in", _settle),
    Example("outbox.settle_in", _settle_digest, "of a digest, whose items follow"),
    Example("outbox.gather", _gather),
    Example("outbox.items_of", lambda e, v: _digests(e, v).items_of(["dlv_1", "dlv_2"], "dlv_0", 500)),
    Example("outbox.leave_out", _leave_out),
    Example("outbox.catch_up", _catch_up),
    Example("outbox.follow", lambda e, v: _outbox(e, v).follow(_changed(v))),
    Example("outbox.cancel_of", lambda e, v: _outbox(e, v).cancel_of([v.key], v.user_id), finds=True),
    Example("outbox.delete_of_user", lambda e, v: _outbox(e, v).delete_of_user(v.user_id, 100), finds=True),
)
