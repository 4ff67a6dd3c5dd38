"""Calls of the transport ``native``: what their handlers get as a context, and what the front is told of their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Final, NoReturn

import grpc
from grpc.aio import EOF, AbortError
from pygrpc_native import STREAM_CLOSED, STREAM_FULL, NativeGrpcFront

from chassis.interceptors import NotWritten
from chassis.logs import logging

Metadata = Sequence[tuple[str, str | bytes]]
# ``(metadata, peer, seconds until the deadline or None)``, as the front tells it.
Details = tuple[tuple[tuple[str, str | bytes], ...], str, float | None]

# The front takes two messages of a stream that its caller has not taken, and does not tell when it takes more. So it is
# asked again, after a pause that grows with how long the caller has been behind.
_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.25
_GROWTH: Final = 1.5

log = logging.get("chassis.serving.transports.native")


class NativeCall:
    """A call, and its context: what ``chassis.interceptors.Context`` says of both transports."""

    __slots__ = (
        "_deadline", "_details", "_encode", "_front", "_id", "_message", "_peer", "_status", "_trailing", "gone",
        "metadata", "task",
    )  # fmt: skip

    def __init__(self, front: NativeGrpcFront, number: int, message: Any, details: Details) -> None:
        self._front = front
        self._id = number
        self._message = message
        self.metadata, self._peer, seconds = details
        self._deadline = None if seconds is None else monotonic() + seconds
        self._encode: Callable[[Any], bytes] | None = None
        self._trailing: Metadata | None = None
        self._status = grpc.StatusCode.UNKNOWN
        self._details = ""
        # The caller has left, or its deadline has passed.
        self.gone = False
        self.task: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """Cancel the handler, because nobody waits for it any more."""
        self.gone = True
        if self.task is not None:
            self.task.cancel()

    async def run(self, served: Any) -> None:
        """Run the handler of a method and give its caller the answer, whatever comes of it."""
        try:
            if served.streaming:
                self._encode = served.encode
                await served.handle(None, self)
                self._front.stream_end(self._id, self._trailing)
            else:
                self._front.respond(self._id, await served.handle(None, self), None, self._trailing)
        except AbortError:
            self.fail(self._status, self._details)
        except asyncio.CancelledError:
            self.shut()
        except Exception as error:
            # A handler maps its own, so this is a mistake of the chassis; its text may hold data.
            log.error("a call could not be answered", exc_info=error)  # noqa: TRY400
            self.fail(grpc.StatusCode.INTERNAL, "internal error")

    def shut(self) -> None:
        """End the call because the server ends; where the caller has left, nobody hears it."""
        self.fail(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")

    def fail(self, code: grpc.StatusCode, details: str) -> None:
        """End the call with a status, behind what was written."""
        number: int = code.value[0]
        self._front.fail(self._id, number, details, self._trailing)

    async def read(self) -> Any:
        """Return the message, which is there before the handler runs, and then EOF."""
        message, self._message = self._message, EOF
        return message

    async def write(self, message: Any) -> None:
        """Send a message of a stream; wait while the caller takes none. Raises ``NotWritten`` once it has left."""
        data = message if self._encode is None else self._encode(message)
        if (sent := self._front.stream_try_send(self._id, data)) == STREAM_FULL:
            sent = await self._write_later(data)
        if sent == STREAM_CLOSED:
            raise NotWritten

    async def _write_later(self, data: bytes) -> int:
        pause = _FIRST_PAUSE_SECONDS
        while True:
            await asyncio.sleep(pause)
            if (sent := self._front.stream_try_send(self._id, data)) != STREAM_FULL:
                return sent
            pause = min(pause * _GROWTH, _LONGEST_PAUSE_SECONDS)

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with a status."""
        self._status, self._details = code, details
        if trailing_metadata:
            self._trailing = trailing_metadata
        raise AbortError

    def set_trailing_metadata(self, trailing_metadata: Metadata) -> None:
        """Send this behind the answer."""
        self._trailing = trailing_metadata

    def invocation_metadata(self) -> Metadata:
        """Return what came in the headers."""
        return self.metadata

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline; None where there is none."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

    def cancelled(self) -> bool:
        """Say whether the caller has left, or its deadline has passed."""
        return self.gone

    def peer(self) -> str:
        """Return the address of the caller, as gRPC writes it."""
        return self._peer

    def auth_context(self) -> dict[str, list[bytes]]:
        """Say that nothing was proven: there is no TLS."""
        return {}
