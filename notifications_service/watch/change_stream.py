"""A change stream of the notifications, opened after a position and read one event at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, cast

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from chassis.context.statements import named
from notifications_service.mongodb import drivers, undecoded
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import Collection
from notifications_service.notification import schema
from notifications_service.watch.changes import (
    OPERATIONS,
    TOO_LARGE,
    ChangeEvent,
    HistoryLost,
    StreamPosition,
    parse,
    position_of,
    time_of,
)

# The position is before the history that is kept (286), or not in it (260, 280), or the stream cannot pass an event
# that is too large (10334), as of another system's row of some 16 MB.
_LOST: Final = frozenset({260, 280, 286, 10334})
_IMAGES: Final = frozenset({"fullDocument", "fullDocumentBeforeChange"})
# Bytes of a row of which no more is read than whose it is: no answer can hold it, since a message takes a third at
# least of what its row takes.
_TOO_LARGE: Final = 12 * 1024 * 1024
_SHOWN: Final[Document] = {
    "$cond": [
        {"$gt": [{"$bsonSize": "$fullDocument"}, _TOO_LARGE]},
        {"userId": "$fullDocument.userId", "createdAt": "$fullDocument.createdAt", TOO_LARGE: {"$literal": True}},
        # No event tells these, and they can be large.
        {
            "$unsetField": {
                "field": "email",
                "input": {"$unsetField": {"field": "push", "input": "$fullDocument"}},
            }
        },
    ]
}
# Bytes of a row, as it was before a change, of which no more is read than whose it was: both images of a change are in
# one event, of 16 MiB at most.
_TOO_LARGE_BEFORE: Final = 3 * 1024 * 1024
_BEFORE: Final = "$fullDocumentBeforeChange"
# Whose it was, and what a watch's filter tests.
_SHOWN_BEFORE: Final[Document] = {
    "$switch": {
        "branches": [
            {"case": {"$not": [_BEFORE]}, "then": _BEFORE},
            {
                "case": {"$gt": [{"$bsonSize": _BEFORE}, _TOO_LARGE_BEFORE]},
                "then": {"userId": f"{_BEFORE}.userId", TOO_LARGE: {"$literal": True}},
            },
        ],
        "default": {name: f"{_BEFORE}.{name}" for name in ("userId", "type", "category")},
    }
}
# Seconds beyond the server's own waiting after which a read counts as failed.
_STALLED: Final = 5.0


class ChangeStream:
    """An open stream; ``position`` is after everything that ``next`` has returned, and only moves forward."""

    def __init__(self, stream: drivers.DriverChangeStream, position: StreamPosition, timeout: float) -> None:
        self.position = position
        self._stream = stream
        self._timeout = timeout
        self._advance()

    @named
    async def next(self) -> tuple[ChangeEvent, ...] | None:
        """Return the changes of the next event, which may concern nobody; None when none came in the server's wait.

        Raises ``HistoryLost`` and the driver's errors.
        """
        with _history_errors(), pymongo.timeout(self._timeout):
            # The driver's own limit does not end a thread of Motor that hangs on a dead connection.
            async with asyncio.timeout(self._timeout + 1.0):
                event: Any = await self._stream.try_next()
        before = self.position
        self._advance()
        if event is None:
            return None
        # The stream begins with all events at the time of its position, some of which may have been read before.
        return tuple(change for change in parse(_inflated(event)) if change.position > before)

    def _advance(self) -> None:
        position = position_of(self._stream.resume_token)
        if position is not None and position > self.position:
            self.position = position


@asynccontextmanager
async def opened(
    database: Database, after: StreamPosition, *, wait: float, stall: float = _STALLED, match: Document | None = None
) -> AsyncIterator[ChangeStream]:
    """Open the stream of events after a position.

    ``match``: a condition on the events; it must pass events without images, whose user is not known.
    ``wait``: seconds that the server waits for an event; ``stall``: how much longer a read may take. Raises
    ``HistoryLost`` and the driver's errors.
    """
    options: dict[str, Any] = {
        # The images recorded with the change: exact, and they say whose notification was deleted.
        "full_document": "whenAvailable",
        "full_document_before_change": "whenAvailable",
        "max_await_time_ms": int(wait * 1000),
        # Otherwise opening would also search the whole history for the first events.
        "batch_size": 0,
        # Not by token: to resume after an event, the server must find it among those that pass the filter, and a
        # watcher's last position may be another user's event.
        "start_at_operation_time": time_of(after),
    }
    with _history_errors():
        stream = await _open(database, _pipeline(match), options)
        try:
            yield ChangeStream(stream, after, wait + stall)
        finally:
            await _close(stream)


@named
async def _open(database: Database, pipeline: list[Document], options: dict[str, Any]) -> drivers.DriverChangeStream:
    with pymongo.timeout(_STALLED):
        # Decoded here: a row that the driver cannot decode would end the stream of everybody.
        collection = database.collection(schema.COLLECTION).with_options(codec_options=undecoded.CODEC_OPTIONS)
        stream = await database.driver.watch(cast("Collection", collection), pipeline, **options)
        await stream.__aenter__()
        return stream


async def _close(stream: drivers.DriverChangeStream) -> None:
    try:
        with pymongo.timeout(1.0):
            async with asyncio.timeout(1.5):
                await stream.close()
    except (pymongo.errors.PyMongoError, TimeoutError):
        # The server drops the cursor by itself once it has been idle.
        return


def _inflated(event: Mapping[str, Any]) -> Document:
    return {
        name: undecoded.decoded(value) if name in _IMAGES and isinstance(value, RawBSONDocument) else value
        for name, value in event.items()
    }


@contextmanager
def _history_errors() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code in _LOST:
            raise HistoryLost(f"the server answered {error.code}") from None
        raise


def _pipeline(match: Document | None) -> list[Document]:
    operations: Document = {"operationType": {"$in": list(OPERATIONS)}}
    kept = ("operationType", "clusterTime", "documentKey")
    shown: Document = dict.fromkeys(kept, 1) | {"fullDocument": _SHOWN, "fullDocumentBeforeChange": _SHOWN_BEFORE}
    stages: list[Document] = [{"$match": operations}, {"$project": shown}]
    # Behind the projection, because the server matches documents of 16 MiB at most, and a change may have two images
    # that together are larger. It is a computed one, so that the server does not change the order.
    return stages if match is None else [*stages, {"$match": match}]
