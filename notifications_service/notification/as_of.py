"""The `as_of` of answers: what a read has seen, sealed, for MarkAllNotifications to be told.

Such a read is one of a single cluster time, so what it has seen is what was committed by then. Who marks has three ways
to tell (docs/decisions/0078): the row is among the ids in the token, the database still knows that time, or it
inserted the row so long before that the row was committed by then, or never would be.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from bson import ObjectId, Timestamp

from chassis.contract import tokentext
from chassis.keyring import CiphertextInvalid, KeyMissing, Keyring
from notifications_service.errors import AsOfInvalid
from notifications_service.mongodb.codec import Document

# Of the database's own time: no row is committed later than this after it was inserted. A transaction lives for 90 s at
# most (transactionLifetimeLimitSeconds, looked at every 30 s), one insert for the query timeout. The rest is for an
# operator's longer limits, for clocks that are set, and for a server that stands still.
SETTLING_SECONDS: Final = 600
# A process whose clock is behind the database's by more may find some of its new rows left unmarked.
SKEW_SECONDS: Final = 60
# A page has no more rows.
MOST_IDS: Final = 100

# The database puts its own time in place of this where it inserts a document.
UNSTAMPED: Final = Timestamp(0, 0)
STAMP: Final = "insertedAt"

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001
# Version, then seconds and number of the cluster time; ids of 12 bytes follow.
_HEADER: Final = struct.Struct(">BII")
_VERSION: Final = 1
_ID_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class AsOf:
    """What a read at a cluster time has seen: all that was committed by then; ``ids``: some of it, by name."""

    at: Timestamp
    ids: tuple[ObjectId, ...] = ()

    @property
    def settled(self) -> Timestamp:
        """The time by which a row was inserted that was committed at ``at``, or never would be."""
        return Timestamp(max(1, self.at.time - SETTLING_SECONDS), self.at.inc)

    @property
    def unsettled_since(self) -> datetime:
        """The time (naive UTC) after which a row was created that was not inserted at ``settled`` yet."""
        return _EPOCH + timedelta(seconds=self.settled.time - SKEW_SECONDS)

    def condition(self, seen: Sequence[ObjectId] = ()) -> Document:
        """Return the condition that a row was seen; ``seen``: more of these, by name.

        A row that the database did not stamp is another system's, or older than stamps: it counts as inserted when it
        says that it was created.
        """
        stamped = {STAMP: {"$gt": UNSTAMPED, "$lte": self.settled}}
        created: Document = {"$lte": _EPOCH + timedelta(seconds=self.settled.time)}
        other = {STAMP: {"$not": {"$gt": UNSTAMPED}}, "createdAt": created}
        return {"$or": [stamped, other, {"_id": {"$in": [*{*self.ids, *seen}]}}]}


def seen_by(at: Timestamp, rows: Sequence[Mapping[str, Any]]) -> AsOf:
    """Return what the read of a page has seen; ``rows``: those on it, newest first."""
    return AsOf(at, tuple(_unsettled(AsOf(at).unsettled_since, rows)))


def _unsettled(since: datetime, rows: Sequence[Mapping[str, Any]]) -> Iterator[ObjectId]:
    for row in rows[:MOST_IDS]:
        created = row["createdAt"]
        if isinstance(created, datetime) and created <= since:
            return
        if isinstance(row["_id"], ObjectId):
            yield row["_id"]


class AsOfTokens:
    """Writes and reads the `as_of` of answers, which are good for one user."""

    def __init__(self, keyring: Keyring) -> None:
        self._cipher = keyring.cipher("as-of")

    def issue(self, user_id: str, seen: AsOf | None) -> str:
        """Return the `as_of` of what was seen of a user's notifications; empty where that is not known."""
        if seen is None:
            return ""
        content = _HEADER.pack(_VERSION, seen.at.time, seen.at.inc) + b"".join(key.binary for key in seen.ids)
        return tokentext.write(self._cipher.encrypt(content, user_id.encode()))

    def read(self, user_id: str, token: str) -> AsOf:
        """Return what was seen. Raises ``AsOfInvalid``."""
        try:
            content = self._cipher.decrypt(tokentext.read(token), user_id.encode())
            version, seconds, number = _HEADER.unpack_from(content)
        except (ValueError, CiphertextInvalid, KeyMissing, struct.error):
            raise AsOfInvalid from None
        if version != _VERSION or (len(content) - _HEADER.size) % _ID_BYTES:
            raise AsOfInvalid
        keys = range(_HEADER.size, len(content), _ID_BYTES)
        return AsOf(Timestamp(seconds, number), tuple(ObjectId(content[start : start + _ID_BYTES]) for start in keys))
