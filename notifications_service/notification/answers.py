"""Conversion of stored documents to responses: read masks, unreadable rows, statistics."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

import bson
from bson import ObjectId
from google.protobuf.field_mask_pb2 import FieldMask
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1.notification_service_pb2 import (
    BatchCreateNotificationsResponse,
    GetNotificationStatsResponse,
    ListNotificationsResponse,
    ListScheduledNotificationsResponse,
)

from chassis.contract import fieldmask
from chassis.errors import InvalidFields
from chassis.logs import logging
from chassis.slices import Slices
from notifications_service.mongodb.codec import Document
from notifications_service.notification import messages, states
from notifications_service.notification.states import State
from notifications_service.notification.unreadable import FLAG
from notifications_service.notification.words import TYPE_TO_PROTO

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

Notifications: TypeAlias = "RepeatedCompositeFieldContainer[notification_pb2.Notification]"
ListAnswer: TypeAlias = ListNotificationsResponse | ListScheduledNotificationsResponse
TypeStats = GetNotificationStatsResponse.TypeStats

# Bytes of an answer beside its notifications: a token, a total, the length of each part.
ENVELOPE_BYTES: Final = 512

# More than any valid notification takes: 16 KiB of zeros and commas are 90 KiB as a Struct, and what a mail and a push
# message say is 153 KiB at most.
LARGEST: Final = 288 * 1024
# Bytes of an answer that surely fits into a document of 16 MiB, where it is kept for repeats: BSON takes up to three
# times as much (empty lists).
_SURELY_STORED: Final = 5 * 1024 * 1024
_MOST_STORED: Final = 15 * 1024 * 1024

# What can make a notification too large for an answer; stored under the names that the contract has.
_LARGE: Final = ("message", "data", "email", "push")

_DESCRIPTOR: Final = notification_pb2.Notification.DESCRIPTOR


class ReadMask:
    """A read mask of `Notification` (AIP-157). Raises FieldMaskInvalid for a field that does not exist.

    ``of_list``: an empty one means what lists show.
    """

    __slots__ = ("_fields", "_paths", "projection")

    def __init__(self, mask: FieldMask, *, of_list: bool = False) -> None:
        self._paths = fieldmask.read_paths(mask, _DESCRIPTOR)
        self._fields: Collection[str] | None = frozenset(path.partition(".")[0] for path in self._paths) or None
        if self._fields is None and of_list:
            self._fields = frozenset(messages.SOURCES) if mask.paths else messages.LISTED
        is_whole = self._fields is None or self._fields is messages.LISTED
        self.projection = None if is_whole else messages.projection(self._fields or ())

    def apply(self, document: Document) -> notification_pb2.Notification:
        """Convert a document. Raises ``messages.Unreadable``."""
        message = messages.to_message(document, self._fields)
        fieldmask.prune(message, self._paths)
        return message

    def append(self, answers: Notifications, document: Document) -> None:
        """Convert a document into a new message at the end. Raises ``messages.Unreadable``."""
        if self.projection is None:
            messages.append(answers, document, listed=self._fields is not None)
        else:
            answers.append(self.apply(document))


EVERYTHING: Final = ReadMask(FieldMask())
LISTED: Final = ReadMask(FieldMask(), of_list=True)


@dataclass(frozen=True, slots=True)
class Filled:
    """The outcome of filling an answer: how many rows were ``taken``, shown or left out, and which flags are wrong.

    ``hidden``: rows that are unreadable and not flagged as such; ``restored``: rows that are flagged, and readable.
    """

    taken: int
    hidden: list[ObjectId] = field(default_factory=list)
    restored: list[ObjectId] = field(default_factory=list)


class Answers:
    """Makes answers; none is larger than ``limit`` bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit - ENVELOPE_BYTES

    @property
    def are_narrow(self) -> bool:
        """Whether there are valid notifications that no answer could hold."""
        return self._limit < LARGEST

    def check(self, new: Sequence[Document]) -> None:
        """Raise InvalidFields for a notification to be stored that no answer could hold."""
        if not self.are_narrow:
            return
        for document in new:
            if (size := messages.to_message(document).ByteSize()) > self._limit:
                largest = max(_LARGE, key=lambda name: len(bson.encode({"": document.get(name)})))
                raise answer_too_large(largest, size, self._limit)

    def one(self, document: Document, mask: ReadMask = EVERYTHING) -> notification_pb2.Notification:
        """Convert a document. Raises ``messages.Unreadable``, also for one that no answer can hold."""
        message = mask.apply(document)
        if message.ByteSize() > self._limit:
            raise messages.too_large(document)
        return message

    def fill(self, response: ListAnswer, owner: str, rows: Sequence[Document], mask: ReadMask) -> Filled:
        """Convert a user's rows into an answer, as many as it can hold; unreadable ones are left out and logged."""
        answers = response.notifications
        filled = self._fill(answers, owner, rows, mask)
        if response.ByteSize() <= self._limit:
            return filled
        del answers[:]
        return self._fill_measured(answers, owner, rows, mask)

    def _fill(self, answers: Notifications, owner: str, rows: Sequence[Document], mask: ReadMask) -> Filled:
        filled = Filled(len(rows))
        for row in rows:
            if row["userId"] != owner:
                continue
            try:
                mask.append(answers, row)
            except messages.Unreadable as error:
                _note(row, error, filled)
                continue
            if FLAG in row:
                filled.restored.append(row["_id"])
        return filled

    def _fill_measured(self, answers: Notifications, owner: str, rows: Sequence[Document], mask: ReadMask) -> Filled:
        """Convert rows one by one until the answer is full."""
        filled, left = Filled(0), self._limit
        for taken, row in enumerate(rows):
            part = ListNotificationsResponse()
            one = self._fill(part.notifications, owner, [row], mask)
            if (size := part.ByteSize()) > self._limit:
                _note(row, messages.too_large(row), one)
            elif size > left:
                return replace(filled, taken=taken)
            else:
                answers.extend(part.notifications)
                left -= size
            filled.hidden.extend(one.hidden)
            filled.restored.extend(one.restored)
        return replace(filled, taken=len(rows))


class BatchAnswer:
    """The answer to a batch of creates, made before anything is stored.

    ``field``: named in the error if it is too large. ``ids_only``: of ids alone, which is never too large.
    """

    def __init__(self, field: str, limit: int, slices: Slices, *, ids_only: bool = False) -> None:
        self._field = field
        self._slices = slices
        self._limit = limit - ENVELOPE_BYTES
        self._ids_only = ids_only
        self._new: Sequence[Document] = ()
        self._response = BatchCreateNotificationsResponse()

    async def fill(self, new: Sequence[Document]) -> None:
        """Convert new documents. Raises InvalidFields where the answer is too large to be sent, or to be kept."""
        if self._ids_only:
            return
        self._new, self._response = new, await self._converted(new)
        if (size := self._response.ByteSize()) > self._limit:
            raise answer_too_large(self._field, size, self._limit)
        if size > _SURELY_STORED:
            sizes = await self._slices.map(lambda document: len(bson.encode(document)), new)
            if (stored := sum(sizes)) > _MOST_STORED:
                raise answer_too_large(self._field, stored, _MOST_STORED)

    async def of(self, created: Sequence[Document], unknown: Sequence[str]) -> BatchCreateNotificationsResponse:
        """Return the answer: the one made, or that of an earlier call with the same ``request_id``."""
        if self._ids_only:
            response = BatchCreateNotificationsResponse(notifications=map(ids_of, created))
        else:
            response = self._response if created is self._new else await self._converted(created)
        response.unknown_user_ids.extend(unknown)
        return response

    async def _converted(self, rows: Sequence[Document]) -> BatchCreateNotificationsResponse:
        response = BatchCreateNotificationsResponse()
        await self._slices.map(lambda row: EVERYTHING.append(response.notifications, row), rows)
        return response


def ids_of(row: Document) -> notification_pb2.Notification:
    """Return a new notification of which only the ids are asked for."""
    return notification_pb2.Notification(id=str(row["_id"]), user_id=row["userId"])


def _note(row: Document, error: messages.Unreadable, filled: Filled) -> None:
    logging.get(__name__).error("notification unreadable", document=str(error))
    if error.is_hidden and row.get(FLAG) is not True:
        filled.hidden.append(row["_id"])


def stats(groups: Sequence[Document]) -> GetNotificationStatsResponse:
    """Sum up rows of ``_id`` (type, archived, read, seen) and ``n``, by type and altogether."""
    by_type: dict[notification_pb2.NotificationType.ValueType, TypeStats] = {}
    total = TypeStats()
    for group in groups:
        channel = TYPE_TO_PROTO.get(str(group["_id"].get("type")))
        if channel is None or not isinstance(group["_id"]["userId"], str):
            # Such rows are in no list, either; each is logged where it is read.
            continue
        entry = by_type.setdefault(channel, TypeStats(type=channel))
        state = states.state_of(group["_id"])
        _add(entry, state, group["n"])
        _add(total, state, group["n"])
    types = [by_type[channel] for channel in sorted(by_type) if by_type[channel].total]
    return GetNotificationStatsResponse(types=types, total=total)


def _add(entry: TypeStats, state: State, number: int) -> None:
    entry.total += number
    entry.archived += number * (state >= State.ARCHIVED)
    entry.read += number * (state >= State.READ)
    entry.seen += number * (state >= State.SEEN)
    entry.unread += number * (state < State.READ)
    entry.unseen += number * (state < State.SEEN)


def answer_too_large(field: str, needed: int, most: int) -> InvalidFields:
    """Return the error for new notifications that would be too large for an answer."""
    return InvalidFields.of(field, f"the answer would take {needed} bytes, and {most} is the most", "ANSWER_BYTES")
