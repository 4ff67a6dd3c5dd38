"""One HTTP/2 connection that calls unary RPCs: frames out, frames in, and what came of each call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, cast

from hpack import Encoder

from tests.bench import http2, trailers
from tests.bench.http2 import Code, Frame, FrameReader, Kind, ProtocolError, Setting

# What the server may send before it hears that we have read; told when half of it is used.
RECEIVE_WINDOW = 4 * 1024 * 1024
PREFIX_BYTES = 5


class CallFailed(Exception):
    """A call that ended with anything but the status OK and a whole message."""


class Exchange:
    """One call: its message with gRPC's prefix, when it began (loop's time), and what has arrived of the answer."""

    __slots__ = ("answer", "begun", "data", "parts")

    def __init__(self, data: bytes, answer: asyncio.Future[bytes], begun: float) -> None:
        self.data = data
        self.answer = answer
        self.begun = begun
        self.parts: list[bytes] = []

    def fail(self, reason: str) -> None:
        """End as failed, unless nobody waits any more."""
        if not self.answer.done():
            self.answer.set_exception(CallFailed(reason))

    def succeed(self) -> None:
        """End with the message that has arrived; as failed where that is not one whole message."""
        body = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        # The first byte says whether it is compressed, which we have not said that we can read.
        if len(body) < PREFIX_BYTES or body[0] or int.from_bytes(body[1:PREFIX_BYTES]) != len(body) - PREFIX_BYTES:
            self.fail("INTERNAL: the answer is not one whole message")
        elif not self.answer.done():
            self.answer.set_result(body[PREFIX_BYTES:])


class Owner(Protocol):
    """Whom a connection tells what does not concern it alone."""

    def retired(self, connection: Connection) -> None:
        """Hear that the connection takes no more calls; those in flight may still end well."""

    def has_room(self) -> None:
        """Hear that more can be sent than before."""

    def unsent(self, exchange: Exchange) -> None:
        """Take back a call that the server has not begun with, as it said itself (RFC 9113, 8.7)."""


class Connection(asyncio.Protocol):
    """Sends calls as they come and reads their answers.

    The server is told to keep no table of headers towards us: a block then means the same wherever it stands, and that
    of a success need not be decoded. Ours are in the server's table after the first call, as those of other clients.
    """

    def __init__(self, headers: Sequence[tuple[str, str]], owner: Owner) -> None:
        self.calls: dict[int, Exchange] = {}
        self.next_stream = 1
        self.retired = False
        self._owner = owner
        self._reader = FrameReader()
        self._headers, self._encoder, self._block = headers, Encoder(), b""
        self._send_window, self._most_calls = http2.DEFAULT_WINDOW, http2.MAX_STREAM_ID
        self._unreported = 0
        self._begun_headers: Frame | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say what we want of the server."""
        self._transport = cast("asyncio.Transport", transport)
        # Each call is written by itself, as other clients do, instead of those of one turn of the loop together.
        self._transport.set_write_buffer_limits(high=0)
        wanted = {Setting.HEADER_TABLE_SIZE: 0, Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: http2.MAX_WINDOW}
        more = http2.window_update(0, RECEIVE_WINDOW - http2.DEFAULT_WINDOW)
        self._transport.write(http2.PREFACE + http2.settings(wanted) + more)

    def has_room_for(self, exchange: Exchange) -> bool:
        """Say whether the server allows one more call now, and as many bytes."""
        return len(self.calls) < self._most_calls and len(exchange.data) <= self._send_window

    def send(self, exchange: Exchange) -> None:
        """Begin a call; only where there is room for it."""
        stream, data = self.next_stream, exchange.data
        self.calls[stream] = exchange
        self.next_stream = stream + 2
        self._send_window -= len(data)
        head = http2.frame(Kind.HEADERS, http2.END_HEADERS, stream, self._block or self._encoded())
        self._transport.write(head + http2.frame(Kind.DATA, http2.END_STREAM, stream, data))
        if self.next_stream > http2.MAX_STREAM_ID:
            self._retire()

    def expire(self, begun_before: float) -> None:
        """Give up the calls that began before; the oldest stand first."""
        for stream, exchange in list(self.calls.items()):
            if exchange.begun >= begun_before:
                break
            self._transport.write(http2.frame(Kind.RST_STREAM, 0, stream, http2.number(Code.CANCEL)))
            self._end(stream, "DEADLINE_EXCEEDED: no answer in time")

    def close(self) -> None:
        """Close without waiting for anything."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Take in what has arrived. Whatever is raised here ends the connection, and its calls with it."""
        for frame in self._reader.feed(data):
            kind, flags, stream, payload = frame
            if kind == Kind.HEADERS and flags == http2.END_HEADERS | http2.END_STREAM:
                self._take_trailers(stream, payload)
            elif kind == Kind.DATA and not flags:
                self._unreported += len(payload)
                if (exchange := self.calls.get(stream)) is not None:
                    exchange.parts.append(payload)
            elif kind != Kind.HEADERS or flags != http2.END_HEADERS:
                self._take_other(frame)
        if self._unreported > RECEIVE_WINDOW // 2:
            self._transport.write(http2.window_update(0, self._unreported))
            self._unreported = 0

    def connection_lost(self, error: Exception | None) -> None:
        """End all calls that are left."""
        self._retire()
        for stream in list(self.calls):
            self._end(stream, f"UNAVAILABLE: connection lost: {error or 'closed'}")

    def _encoded(self) -> bytes:
        """Return the headers of the next call: from the second on, references into the server's table alone."""
        block = self._encoder.encode(self._headers)
        if self.next_stream > 3:
            self._block = block
        return block

    def _take_trailers(self, stream: int, block: bytes) -> None:
        if (exchange := self.calls.get(stream)) is None:
            return
        if failure := trailers.failure(block):
            exchange.fail(failure)
        else:
            exchange.succeed()
        self._end(stream)

    def _take_other(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.RST_STREAM:
                code = int.from_bytes(frame.payload)
                self._lose(frame.stream, f"stream reset with code {code}", unsent=code == Code.REFUSED_STREAM)
            case Kind.HEADERS | Kind.CONTINUATION:
                self._join_headers(frame)
            case Kind.DATA:
                raise ProtocolError("data that is padded, or an answer without trailers")
            case _ if not frame.stream:
                self._take_news(frame.kind, frame.flags, frame.payload)

    def _take_news(self, kind: int, flags: int, payload: bytes) -> None:
        """Take what concerns the whole connection."""
        match kind:
            case Kind.WINDOW_UPDATE:
                self._send_window += int.from_bytes(payload)
                self._owner.has_room()
            case Kind.PING if not flags & http2.ACK:
                self._transport.write(http2.frame(Kind.PING, http2.ACK, 0, payload))
            case Kind.SETTINGS if not flags & http2.ACK:
                self._most_calls = http2.read_settings(payload).get(Setting.MAX_CONCURRENT_STREAMS, self._most_calls)
                self._transport.write(http2.frame(Kind.SETTINGS, http2.ACK, 0))
            case Kind.GOAWAY:
                last_taken = int.from_bytes(payload[:4])
                self._retire()
                for untaken in [stream for stream in self.calls if stream > last_taken]:
                    self._lose(untaken, "", unsent=True)

    def _join_headers(self, frame: Frame) -> None:
        """Put together a header block that came in several frames."""
        whole = frame
        if frame.kind == Kind.CONTINUATION and (begun := self._begun_headers):
            whole = begun._replace(flags=begun.flags | frame.flags, payload=begun.payload + frame.payload)
        if whole.kind != Kind.HEADERS or whole.flags & http2.PADDED_OR_PRIORITY:
            raise ProtocolError("headers that are padded, or the end of none")
        self._begun_headers = whole
        if whole.flags == http2.END_HEADERS | http2.END_STREAM:
            self._take_trailers(whole.stream, whole.payload)

    def _lose(self, stream: int, reason: str, *, unsent: bool) -> None:
        """End a call that the server has ended without an answer."""
        if unsent and (exchange := self.calls.pop(stream, None)):
            self._owner.unsent(exchange)
        self._end(stream, f"UNAVAILABLE: {reason}")

    def _end(self, stream: int, failure: str = "") -> None:
        exchange = self.calls.pop(stream, None)
        if exchange and failure:
            exchange.fail(failure)
        self._close_if_done()
        self._owner.has_room()

    def _retire(self) -> None:
        if not self.retired:
            self.retired = True
            self._owner.retired(self)
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.retired and not self.calls:
            self._transport.close()
