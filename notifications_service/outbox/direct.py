"""Contents of SendDirect, as they rest in their deliveries: sealed, and erased as soon as nothing needs them.

Content and address are sealed by themselves, since the address outlives the content, for bounces that come late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from bson import Binary

from chassis.contract.ids import new_id
from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from notifications_service.mongodb.codec import Document
from notifications_service.notification.delivery_states import OPEN, DeliveryState
from notifications_service.notification.documents import Type
from notifications_service.outbox.model import ID_PREFIX, Kind

# How long an address is kept after its mail was sent.
ADDRESS_KEPT: Final = timedelta(days=14)
# Final states that can be left again: what was to be sent is kept until the delivery expires.
_RETRIED: Final = frozenset({DeliveryState.FAILED, DeliveryState.SUPPRESSED})
_SENT: Final = frozenset({DeliveryState.SENT, DeliveryState.BOUNCED, DeliveryState.COMPLAINED})


class SealBroken(Exception):
    """The content or the address is sealed under a key that is not on the ring, or it was altered."""


@dataclass(frozen=True, slots=True)
class DirectContent:
    """A mail of a caller's own, or a template and what it is filled with; ``locale`` empty: the user's."""

    locale: str = ""
    purpose: str = ""
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    subject: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    reply_to: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class NewDirect:
    """A delivery to be stored; either ``user_id`` or ``address``."""

    content: DirectContent
    expires_at: datetime
    user_id: str = ""
    address: str = field(default="", repr=False)


class DirectSeal:
    """Seals and opens what is sent directly, each bound to the id of its delivery."""

    def __init__(self, keyring: Keyring) -> None:
        self._contents = keyring.cipher("direct-contents")
        self._addresses = keyring.cipher("direct-addresses")

    def stored(self, new: NewDirect, at: datetime) -> Document:
        """Return the row of a delivery created at ``at``."""
        id_ = new_id(ID_PREFIX)
        row: dict[str, Any] = {
            "_id": id_,
            "kind": Kind.DIRECT.value,
            "channel": Type.EMAIL.value,
            "state": DeliveryState.PENDING.value,
            "dueAt": at,
            "attempts": 0,
            "createdAt": at,
            "updatedAt": at,
            "rev": 1,
            "expiresAt": new.expires_at,
            # Also where no worker ever comes.
            "eraseAt": new.expires_at,
            "content": Binary(self._contents.encrypt(orjson.dumps(new.content), id_.encode())),
        }
        if new.address:
            row["address"] = Binary(self._addresses.encrypt(new.address.encode(), id_.encode()))
        optional = {"userId": new.user_id, "templatePurpose": new.content.purpose}
        return row | {name: value for name, value in optional.items() if value}

    def content(self, row: Mapping[str, Any]) -> DirectContent:
        """Return what a row carries, which must be there. Raises SealBroken."""
        try:
            return DirectContent(
                **orjson.loads(self._contents.decrypt(_ciphertext(row["content"]), row["_id"].encode()))
            )
        except (KeyMissing, CiphertextInvalid):
            raise SealBroken from None

    def address(self, row: Mapping[str, Any]) -> str:
        """Return the address that SendDirect was given; empty where it was given a user, or where it is erased.

        Raises SealBroken.
        """
        if "address" not in row:
            return ""
        try:
            return self._addresses.decrypt(_ciphertext(row["address"]), row["_id"].encode()).decode()
        except (KeyMissing, CiphertextInvalid):
            raise SealBroken from None

    def again(self, row: Mapping[str, Any]) -> dict[str, Binary]:
        """Return what of a row is under an older key, sealed under the newest; nothing where all is.

        Raises KeyMissing or CiphertextInvalid.
        """
        bound, sealed = row["_id"].encode(), dict[str, Binary]()
        for name, cipher in (("content", self._contents), ("address", self._addresses)):
            if name in row and not cipher.is_current(ciphertext := _ciphertext(row[name])):
                sealed[name] = Binary(cipher.encrypt(cipher.decrypt(ciphertext, bound), bound))
        return sealed


def _ciphertext(value: Any) -> bytes:
    """Return a stored ciphertext. Raises CiphertextInvalid for what another program left there."""
    if not isinstance(value, bytes):
        raise CiphertextInvalid
    return value


def without_sealed(row: Document) -> Document:
    """Return a row as it may be kept elsewhere: without what is sealed in it."""
    return {name: value for name, value in row.items() if name not in {"content", "address"}}


def erased(row: Mapping[str, Any], values: Mapping[str, Any]) -> Document:
    """Return what a change of a row's values erases besides; None: the field is removed."""
    if row["kind"] != Kind.DIRECT.value or "state" not in values:
        return {}
    state = DeliveryState(values["state"])
    if state in OPEN | _RETRIED:
        return {}
    if state not in _SENT or "address" not in row:
        return {"content": None, "address": None, "eraseAt": None}
    sent: datetime = values.get("sentAt") or row.get("sentAt") or values["finishedAt"]
    return {"content": None, "eraseAt": sent + ADDRESS_KEPT}
