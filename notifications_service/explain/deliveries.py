"""Examples of the commands of DeliveryService: deliveries as they are looked at, and the suppression list."""

from __future__ import annotations

from typing import Any, Final

from bson import Binary, ObjectId

from chassis.keyring import KEY_BYTES, Keyring
from notifications_service.explain.example import Example, Send, Values
from notifications_service.explain.explainer import Explainer
from notifications_service.outbox.erasing import Eraser
from notifications_service.outbox.filters import DeliveryFilter
from notifications_service.outbox.reads import DeliveryReads
from notifications_service.outbox.resealing import SealedDeliveries
from notifications_service.suppressions.model import Suppression, SuppressionFilter, SuppressionReason
from notifications_service.suppressions.repository import SuppressionRepository

# A key for as long as the example takes: what it makes is only looked for, or only explained.
_KEYRING: Final = Keyring({"example": bytes(KEY_BYTES)})
_ADDRESS: Final = "nobody@example.com"


def _suppressed(explainer: Explainer) -> SuppressionRepository:
    return SuppressionRepository(explainer, _KEYRING)


def _suppression(values: Values) -> Suppression:
    return Suppression(_ADDRESS, SuppressionReason.BOUNCE, values.clock())


_COMPLAINTS: Final = SuppressionFilter(reasons=frozenset({SuppressionReason.COMPLAINT}))
_OF_ADDRESS: Final = SuppressionFilter(_ADDRESS)


def _suppression_page(chosen: SuppressionFilter, *, later: bool = False) -> Send:
    return lambda e, v: _suppressed(e).page(chosen, (v.position[0], "x") if later else None, v.clock(), 21)


SUPPRESSIONS: Final = (
    Example("suppressions.active", lambda e, v: _suppressed(e).active([_ADDRESS], v.clock())),
    Example("suppressions.page", _suppression_page(SuppressionFilter())),
    Example("suppressions.page", _suppression_page(_COMPLAINTS, later=True), "complaints, later page"),
    Example("suppressions.page", _suppression_page(_OF_ADDRESS), "of an address"),
    Example("suppressions.count", lambda e, v: _suppressed(e).count(_COMPLAINTS, v.clock())),
    Example("suppressions.count", lambda e, v: _suppressed(e).count(_OF_ADDRESS, v.clock()), "of an address"),
    Example("suppressions.put_in", lambda e, v: _suppressed(e).put_in(None, _suppression(v))),  # type: ignore[arg-type]
    Example("suppressions.after", lambda e, _: _suppressed(e).after("", 500)),
    Example("suppressions.reseal", lambda e, _: _suppressed(e).reseal("bounce:x")),
    Example("suppressions.delete", lambda e, v: _suppressed(e).delete(_ADDRESS, list(SuppressionReason), v.clock())),
)

_ANYBODYS: Final = DeliveryFilter(channels=("email",), reasons=("bounced",))
_FAILED: Final = DeliveryFilter(states=frozenset({"failed"}), categories=("billing",))
_OF_NOTIFICATION: Final = DeliveryFilter(notification_ids=(ObjectId(), ObjectId()))
_OF_USER: Final = DeliveryFilter("nobody", states=frozenset({"pending"}), deferrals=("retry",))
_AT_ADDRESS: Final = DeliveryFilter(address_hashes=(bytes(32), bytes(32)))
_SEALED: Final = {"content": Binary(bytes(1))}
_DELIVERY: Final = "dlv_00000000000000000000000000"


def _deliveries(explainer: Explainer, values: Values) -> DeliveryReads:
    return DeliveryReads(explainer, values.retention, values.clock)


def _delivery_page(chosen: DeliveryFilter, *, later: bool = False) -> Send:
    return lambda e, v: _deliveries(e, v).page(chosen, (v.position[0], _DELIVERY) if later else None, 21)


# In place of a session.
_IN: Final[Any] = None
DELIVERIES: Final = (
    Example("outbox.get", lambda e, v: _deliveries(e, v).get(_DELIVERY)),
    Example("outbox.page", _delivery_page(_ANYBODYS), "everybody's"),
    Example("outbox.page", _delivery_page(_FAILED, later=True), "failed, later page"),
    Example("outbox.page", _delivery_page(_OF_NOTIFICATION), "of notifications"),
    Example("outbox.page", _delivery_page(_OF_USER, later=True), "of a user, waiting, later page"),
    Example("outbox.page", _delivery_page(_AT_ADDRESS), "at an address"),
    Example("outbox.keys", lambda e, v: _deliveries(e, v).keys(_FAILED, None, 250)),
    Example("outbox.count", lambda e, v: _deliveries(e, v).count([_ANYBODYS, _FAILED])),
    Example("outbox.count", lambda e, v: _deliveries(e, v).count([_OF_USER, _AT_ADDRESS]), "of a user, at an address"),
    Example("outbox.of_message", lambda e, v: _deliveries(e, v).of_message("queued as 1")),
    Example("outbox.get_in", lambda e, v: _deliveries(e, v).get_in(_IN, [_DELIVERY])),
    Example("outbox.erase", lambda e, v: Eraser(e, v.clock).erase(), finds=True),
    Example("outbox.sealed", lambda e, _: SealedDeliveries(e).sealed(None, (), 100)),
    Example("outbox.sealed", lambda e, v: SealedDeliveries(e).sealed(v.clock(), [_DELIVERY], 100), "later batch"),
    Example("outbox.reseal", lambda e, _: SealedDeliveries(e).reseal([({"_id": _DELIVERY, **_SEALED}, _SEALED)])),
    Example("outbox.notifications_in", lambda e, v: _deliveries(e, v).notifications_in(_IN, [v.key])),
)
