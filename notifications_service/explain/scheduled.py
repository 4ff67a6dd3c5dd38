"""Examples of the commands on scheduled notifications."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from notifications_service.explain.example import Example, Values
from notifications_service.explain.explainer import Explainer
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents
from notifications_service.notification.documents import Draft, Type
from notifications_service.outbox.repository import OutboxRepository
from notifications_service.scheduled.repository import ScheduledFilter, ScheduledRepository


def _scheduled(explainer: Explainer, values: Values) -> ScheduledRepository:
    return ScheduledRepository(explainer, OutboxRepository(explainer, values.clock), values.clock)


def _waiting(values: Values) -> Document:
    now = values.clock()
    draft = Draft(values.user_id, "title", "message", Type.IN_APP, scheduled_at=now + timedelta(days=1))
    return documents.new(draft, now)


_SOME: Final = ScheduledFilter(types=("email",), categories=("billing",))
SCHEDULED: Final = (
    Example("scheduled.insert", lambda e, v: _scheduled(e, v).insert(_waiting(v))),
    Example("scheduled.insert_in", lambda e, v: _scheduled(e, v).insert_in(None, [_waiting(v)])),  # type: ignore[arg-type]
    Example("scheduled.get", lambda e, v: _scheduled(e, v).get(v.key, v.user_id)),
    Example("scheduled.update", lambda e, v: _scheduled(e, v).update(v.key, {"title": "Later"}, {"userId": v.user_id})),
    Example("scheduled.delete", lambda e, v: _scheduled(e, v).delete(v.key, {"userId": v.user_id})),
    Example("scheduled.delete_of_user", lambda e, v: _scheduled(e, v).delete_of_user(v.user_id, 100), finds=True),
    Example("scheduled.page", lambda e, v: _scheduled(e, v).page(v.user_id, ScheduledFilter(), None, 21, None), "all"),
    Example("scheduled.page", lambda e, v: _scheduled(e, v).page(v.user_id, _SOME, v.position, 21, None), "later page"),
    Example("scheduled.count", lambda e, v: _scheduled(e, v).count(v.user_id, _SOME)),
    Example("scheduled.due", lambda e, v: _scheduled(e, v).due(1)),
    Example("scheduled.move_due", lambda e, v: _scheduled(e, v).move_due(100)),
    Example("scheduled.move_one", lambda e, v: _scheduled(e, v).move_one(v.key)),
    Example("scheduled.put_off", lambda e, v: _scheduled(e, v).put_off(v.key, v.clock())),
)
