"""Calls of gRPC as bytes on a socket: what no client library would send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from hpack import Decoder, Encoder

from tests.bench import http2
from tests.bench.http2 import FrameReader, Kind, Setting

VALIDATE = b"/vibework.users.v1.SessionService/ValidateSession"
WATCH = b"/vibework.notifications.v1.NotificationService/WatchNotifications"
CHECK = b"/grpc.health.v1.Health/Check"
WATCH_USERS = b"/vibework.users.v1.UserService/WatchUsers"
WATCH_HEALTH = b"/grpc.health.v1.Health/Watch"
REFLECT = b"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
Headers = Sequence[tuple[bytes, bytes]]


class RawConnection:
    """A connection that sends what it is told to, and of itself answers only the server's settings, and pings.

    A server says its settings anew when it has measured the connection, and ends one that leaves them unanswered.

    Whoever answers no ping is gone to the server, which then ends the connection.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, acknowledging: bool, pings: bool
    ) -> None:
        self._acknowledging, self._pings = acknowledging, pings
        self._settings = 0
        self._reader, self._writer = reader, writer
        self._frames, self._decoder, self._encoder = FrameReader(), Decoder(), Encoder()
        self._next = 1
        self._answers: dict[int, dict[str, str]] = {}

    def call(self, path: bytes, more: Headers = (), block: bytes = b"", message: bytes | None = None) -> int:
        """Send the headers of a call, and its message if there is one; return the number of its stream.

        ``more``: metadata; ``block``: what comes after it in the headers, as bytes of HPACK.
        """
        pseudo = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"x")]
        own = [(b"te", b"trailers"), (b"content-type", b"application/grpc"), *more]
        stream = self.begin([*pseudo, *own], block)
        if message is not None:
            self._send_message(stream, framed(message))
        return stream

    def _send_message(self, stream: int, data: bytes) -> None:
        # A larger frame than every server takes ends the connection at some.
        starts = range(0, len(data), http2.MAX_FRAME_BYTES)
        for start in starts:
            flags = http2.END_STREAM if start == starts[-1] else 0
            self.send(http2.frame(Kind.DATA, flags, stream, data[start : start + http2.MAX_FRAME_BYTES]))

    def begin(self, headers: Headers, block: bytes = b"", flags: int = 0) -> int:
        """Send headers as they are, whatever they lack; return the number of their stream; ``flags``: of the first."""
        stream, self._next = self._next, self._next + 2
        self._send_headers(stream, self._encoder.encode(headers, huffman=False) + block, flags)
        return stream

    def _send_headers(self, stream: int, block: bytes, flags: int) -> None:
        parts = [block[start : start + http2.MAX_FRAME_BYTES] for start in range(0, len(block), http2.MAX_FRAME_BYTES)]
        for number, part in enumerate(parts):
            last = http2.END_HEADERS if number == len(parts) - 1 else 0
            kind, first = (Kind.CONTINUATION, 0) if number else (Kind.HEADERS, flags)
            self.send(http2.frame(kind, first | last, stream, part))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self._writer.write(data)

    async def answer(self, stream: int) -> dict[str, str]:
        """Return what a call was answered in all its headers: ``grpc-status`` and the like; empty once it was reset."""
        while "ended" not in self._answers.get(stream, {}):
            await self._read()
        return self._answers[stream]

    def answered(self, stream: int) -> dict[str, str]:
        """Return what has come of a call's answer until now."""
        return self._answers.get(stream, {})

    async def closed(self) -> None:
        """Wait until the server has closed the connection."""
        while True:
            try:
                await self._read()
            except (EOFError, OSError):
                return

    async def _read(self) -> None:
        data = await self._reader.read(65_536)
        if not data:
            raise EOFError("the server has closed the connection")
        for frame in self._frames.feed(data):
            if self._pings and frame.kind == Kind.PING and not frame.flags & http2.ACK:
                self.send(http2.frame(Kind.PING, http2.ACK, 0, frame.payload))
            if frame.kind == Kind.SETTINGS and not frame.flags & http2.ACK:
                self._acknowledge_settings()
            answer = self._answers.setdefault(frame.stream, {})
            if frame.kind == Kind.HEADERS:
                answer.update((str(name), str(value)) for name, value in self._decoder.decode(frame.payload))
            if frame.kind == Kind.RST_STREAM or (frame.kind == Kind.HEADERS and frame.flags & http2.END_STREAM):
                answer["ended"] = "yes"

    def _acknowledge_settings(self) -> None:
        self._settings += 1
        # The first were acknowledged beforehand, for those who never read.
        if self._acknowledging and self._settings > 1:
            self.send(http2.frame(Kind.SETTINGS, http2.ACK, 0))


def framed(message: bytes, flag: int = 0) -> bytes:
    """Return a message as gRPC frames it; ``flag``: 1 where it is compressed."""
    return bytes([flag]) + http2.number(len(message)) + message


@asynccontextmanager
async def connected(
    port: int, *, acknowledging: bool = True, pings: bool = True, window: int = http2.DEFAULT_WINDOW
) -> AsyncIterator[RawConnection]:
    """Connect to a server on this machine.

    ``acknowledging``: tell it that its settings are known; ``pings``: answer those that are read; ``window``: bytes
    that it may send on each stream.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = RawConnection(reader, writer, acknowledging=acknowledging, pings=pings)
    connection.send(http2.PREFACE + http2.settings({Setting.INITIAL_WINDOW_SIZE: window}))
    if acknowledging:
        connection.send(http2.frame(Kind.SETTINGS, http2.ACK, 0))
    try:
        yield connection
    finally:
        writer.transport.abort()
