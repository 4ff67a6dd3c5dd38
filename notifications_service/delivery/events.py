"""Events that mail providers report of mails that they had accepted, and what each changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import DeliveryState
from notifications_service.outbox import changes
from notifications_service.outbox.changes import Change
from notifications_service.outbox.model import AttemptEntry, Reason
from notifications_service.suppressions.model import SuppressionReason


class EventKind(Enum):
    """Something that happened to a mail after it was accepted."""

    HARD_BOUNCE = auto()
    SOFT_BOUNCE = auto()
    COMPLAINT = auto()


@dataclass(frozen=True, slots=True)
class MailEvent:
    """One report. ``is_dated``: whether it said when it happened. ``detail``: without addresses."""

    kind: EventKind
    at: datetime
    is_dated: bool = False
    smtp_code: int = 0
    enhanced_status: str = ""
    detail: str = field(default="", repr=False)

    @property
    def suppresses(self) -> SuppressionReason | None:
        """For which reason the address goes onto the suppression list; None: it does not."""
        return _SUPPRESSES.get(self.kind)


_SUPPRESSES: Final = {
    EventKind.HARD_BOUNCE: SuppressionReason.BOUNCE,
    EventKind.COMPLAINT: SuppressionReason.COMPLAINT,
}
_STATES: Final = {
    EventKind.HARD_BOUNCE: (DeliveryState.BOUNCED, Reason.BOUNCED),
    EventKind.COMPLAINT: (DeliveryState.COMPLAINED, Reason.COMPLAINED),
}
_NOTED_AS: Final = {
    EventKind.HARD_BOUNCE: Reason.BOUNCED,
    EventKind.SOFT_BOUNCE: Reason.REJECTED_TEMPORARY,
    EventKind.COMPLAINT: Reason.COMPLAINED,
}


def mailed(row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the last attempt of a delivery at an address; None: no mail of it ever left."""
    entries = [entry for entry in row.get("log", ()) if "addressHash" in entry]
    return entries[-1] if entries else None


def change_of(row: Document, event: MailEvent, now: datetime) -> Change | None:
    """Return what an event makes of a delivery; None: it was reported before, or no mail of the delivery ever left."""
    sent = mailed(row)
    if sent is None or _is_known(row, event):
        return None
    noted = AttemptEntry(
        event.at,
        event.at,
        _NOTED_AS[event.kind],
        masked_address=sent.get("maskedAddress", ""),
        address_hash=sent["addressHash"],
        smtp_code=event.smtp_code,
        enhanced_status=event.enhanced_status,
        provider_message_id=sent.get("providerMessageId", ""),
    )
    return Change(row, _values(row, event, now), [noted])


def _values(row: Document, event: MailEvent, now: datetime) -> Document:
    if event.kind not in _STATES or row["state"] == DeliveryState.COMPLAINED.value:
        return {}
    state, reason = _STATES[event.kind]
    return changes.final(state, reason, row.get("finishedAt", now), event.detail)


def _is_known(row: Document, event: MailEvent) -> bool:
    if event.kind is not EventKind.SOFT_BOUNCE:
        state, reason = _STATES[event.kind]
        return row["state"] == state.value or any(entry.get("reason") == reason.value for entry in row["log"])
    return any(_is_same(entry, event) for entry in row["log"])


def _is_same(entry: Mapping[str, Any], event: MailEvent) -> bool:
    """Say whether an attempt is a soft bounce that was noted before; one without a time is known by its codes."""
    return (
        entry.get("reason") == _NOTED_AS[event.kind].value
        and entry["startedAt"] == entry.get("finishedAt")
        and (entry.get("smtpCode", 0), entry.get("enhancedStatus", "")) == (event.smtp_code, event.enhanced_status)
        and (not event.is_dated or entry["startedAt"] == event.at)
    )
