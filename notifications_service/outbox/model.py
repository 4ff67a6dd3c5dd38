"""The stored form of a delivery: names and values of the collection `deliveries`.

Values are those of the contract's enums in small letters. Times are those of ``notifications_service.clock``. Fields:

- what and to whom: `kind`, `notificationId`, `userId`, `channel`, `category`, `critical`, `collapseKey`, `createdAt`;
- where it stands: `state`, `reason`, `reasonDetail`, `sentAt`, `finishedAt` (final states alone have it), `updatedAt`,
  and `rev`, which counts changes of the row;
- when it is due: `dueAt` (open states alone have it), `deferral`, `expiresAt`;
- attempts: `attempts` is how often sending was tried, `log` the last of them, oldest first, as ``AttemptEntry`` makes
  them, `accepted` the ids of push subscriptions that have the message, while others are still tried;
- while it is being sent: `lease`, `leasedAt`, and `superseded` where a newer one of its key came meanwhile;
- of digests: `lane`, `digestAt` (when the digest is due that it waits for), `queuedAt` (when it was queued by hand),
  `digestDeliveryId` (the digest that carries it); and of a digest itself `gathering`, while items may still join it,
  and `followAt`, while some of them are still to be brought to its state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Any, Final

from bson import ObjectId

from chassis.contract.ids import new_id
from notifications_service.mongodb.codec import Document
from notifications_service.notification import documents
from notifications_service.notification.delivery_states import DeliveryState, summed

ID_PREFIX: Final = "dlv"
# Attempts that a row keeps, the last ones.
KEPT_ATTEMPTS: Final = 10
# Characters that are kept of what a far end says.
MOST_DETAIL: Final = 500
MOST_MESSAGE_ID: Final = 255


class Kind(StrEnum):
    """What a delivery carries."""

    NOTIFICATION = auto()
    DIGEST = auto()
    DIRECT = auto()


class Lane(StrEnum):
    """In which queue of its channel an open delivery waits for a worker; most are in none of these.

    What is carried by a digest is claimed by nobody: whoever has the digest looks at it.
    """

    DIGEST = auto()
    CARRIED = auto()


class Deferral(StrEnum):
    """What a delivery waits for."""

    SCHEDULE = auto()
    DELAY = auto()
    QUIET_HOURS = auto()
    DIGEST = auto()
    RETRY = auto()
    RATE = auto()
    PROVIDER_DOWN = auto()
    USERS_SERVICE_DOWN = auto()


class Reason(StrEnum):
    """Why a delivery, or an attempt, did not succeed; ``DeliveryFailureReason`` of the contract says what each is."""

    NO_ADDRESS = auto()
    ADDRESS_UNVERIFIED = auto()
    NO_SUBSCRIPTION = auto()
    USER_GONE = auto()
    USER_DISABLED = auto()
    REJECTED_PERMANENT = auto()
    REJECTED_TEMPORARY = auto()
    TIMEOUT = auto()
    TLS = auto()
    AUTH = auto()
    PAYLOAD_TOO_LARGE = auto()
    SUBSCRIPTION_GONE = auto()
    RATE_LIMITED = auto()
    CONNECTION = auto()
    ENDPOINT_REFUSED = auto()
    BOUNCED = auto()
    COMPLAINED = auto()
    SUPPRESSED_ADDRESS = auto()
    SUPPRESSED_PREFERENCE = auto()
    EXPIRED = auto()
    CANCELLED = auto()
    SUPERSEDED = auto()
    NOTIFICATION_GONE = auto()
    READ = auto()
    PREDATES_DELIVERY = auto()
    KEY_GONE = auto()
    TEMPLATE = auto()
    OUTCOME_UNKNOWN = auto()
    CHANNEL_NOT_CONFIGURED = auto()
    INTERNAL = auto()


@dataclass(frozen=True, slots=True)
class AttemptEntry:
    """One attempt at sending to one target; ``masked_address`` or ``subscription_id`` says which.

    ``address_hash``: as ``addresses.AddressHashes.of`` makes it, beside each mask: for finding by address, for bounces.
    """

    started_at: datetime
    finished_at: datetime | None = None
    reason: Reason | None = None
    masked_address: str = ""
    address_hash: bytes = b""
    subscription_id: str = ""
    smtp_code: int = 0
    enhanced_status: str = ""
    http_status: int = 0
    provider_message_id: str = ""

    def stored(self) -> Document:
        """Return the entry of `log`; what is not known is left out."""
        entry = {
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "reason": self.reason and self.reason.value,
            "maskedAddress": self.masked_address,
            "addressHash": self.address_hash,
            "subscriptionId": self.subscription_id,
            "smtpCode": self.smtp_code,
            "enhancedStatus": self.enhanced_status,
            "httpStatus": self.http_status,
            "providerMessageId": self.provider_message_id[:MOST_MESSAGE_ID],
        }
        return {name: value for name, value in entry.items() if value}


@dataclass(frozen=True, slots=True)
class New:
    """A delivery to be stored: of a notification, by one channel (`email` or `push`)."""

    notification_id: ObjectId
    user_id: str
    channel: str
    category: str = ""
    due_at: datetime | None = None
    deferral: Deferral | None = None
    expires_at: datetime | None = None
    collapse_key: str = ""
    critical: bool = False


def of_notification(document: Mapping[str, Any], since: datetime | None = None) -> list[Document]:
    """Return the deliveries of a new notification, one for each channel by which it goes out.

    ``since``: the time for which it was scheduled; by that it has its place among those that wait for a worker.
    """
    return [_of_channel(document, channel, since) for channel in documents.outgoing(document)]


def _of_channel(document: Mapping[str, Any], channel: str, since: datetime | None) -> Document:
    at: datetime = document["createdAt"]
    delay = timedelta(milliseconds=document.get(channel, {}).get("delay", 0))
    return stored(
        New(
            document["_id"],
            document["userId"],
            channel,
            category=document.get("category", ""),
            # A delay is the time in which its user may read it: it counts from when there is something to read.
            due_at=at + delay if delay or since is None else min(at, since),
            deferral=Deferral.DELAY if delay else None,
            expires_at=document.get("expiresAt"),
            collapse_key=document.get("collapseKey", ""),
            critical=document.get("critical", False),
        ),
        at,
    )


def collapse(rows: Sequence[Document], notifications: Mapping[ObjectId, Document]) -> None:
    """End those of new deliveries that a later one of the same user, channel and key replaces at once.

    The notifications, which are not stored yet either, sum that up.
    """
    last: dict[tuple[Any, ...], Document] = {}
    for row in rows:
        if "collapseKey" not in row:
            continue
        key = row["userId"], row["channel"], row["collapseKey"]
        if (replaced := last.get(key)) is not None:
            _supersede(replaced, notifications[replaced["notificationId"]]["delivery"])
        last[key] = row


def _supersede(row: Document, delivery: Document) -> None:
    row |= {
        "state": DeliveryState.CANCELLED.value,
        "reason": Reason.SUPERSEDED.value,
        "finishedAt": row["createdAt"],
    }
    row.pop("dueAt")
    row.pop("deferral", None)
    delivery["byChannel"][row["channel"]]["state"] = row["state"]
    delivery["state"] = summed(DeliveryState(each["state"]) for each in delivery["byChannel"].values()).value


def stored(new: New, at: datetime) -> Document:
    """Return the row of a delivery created at ``at``.

    `dueAt` is when somebody has to look at the row next: while it is pending, when it may be sent; while it is being
    sent, when its lease ends. A row in a final state has none, so one index serves all claims.
    """
    row: dict[str, Any] = {
        "_id": new_id(ID_PREFIX),
        "kind": Kind.NOTIFICATION.value,
        "notificationId": new.notification_id,
        "userId": new.user_id,
        "channel": new.channel,
        "state": DeliveryState.PENDING.value,
        "dueAt": min(filter(None, (new.due_at or at, new.expires_at))),
        "attempts": 0,
        "createdAt": at,
        "updatedAt": at,
        "rev": 1,
    }
    optional = {
        "category": new.category,
        "deferral": new.deferral and new.deferral.value,
        "expiresAt": new.expires_at,
        "collapseKey": new.collapse_key,
        "critical": new.critical,
    }
    return row | {name: value for name, value in optional.items() if value}


def digest(user_id: str, category: str | None, at: datetime) -> Document:
    """Return the row of a new digest, which gathers items still; it is to be put under a lease."""
    row = {
        "_id": new_id(ID_PREFIX),
        "kind": Kind.DIGEST.value,
        "userId": user_id,
        "channel": documents.Type.EMAIL.value,
        "state": DeliveryState.SENDING.value,
        "lane": Lane.DIGEST.value,
        "gathering": True,
        "attempts": 0,
        "createdAt": at,
        "updatedAt": at,
        "rev": 1,
    }
    return row | ({"category": category} if category else {})
