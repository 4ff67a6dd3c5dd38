"""HTTP/2 frames as bytes (RFC 9113): as much of them as calls of gRPC take."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
# What either side may send where no setting says otherwise (RFC 9113, 6.5.2 and 6.9.2).
MAX_FRAME_BYTES = 16_384
DEFAULT_WINDOW = 65_535
MAX_WINDOW = MAX_STREAM_ID = 2**31 - 1

# Flags. END_STREAM and ACK are one bit, of different frames.
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED_OR_PRIORITY = 0x28

# The length takes the upper 24 bits of the first number, the kind the lower 8.
_HEAD = struct.Struct(">IBI")


class Kind(IntEnum):
    """Kinds of frames."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class Setting(IntEnum):
    """Settings of a connection."""

    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4


class Code(IntEnum):
    """Why a stream or a connection ends."""

    NO_ERROR = 0
    REFUSED_STREAM = 7
    CANCEL = 8


class Frame(NamedTuple):
    """One frame; ``kind`` is a plain number, since kinds that nobody knows are to be passed over."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class ProtocolError(ConnectionError):
    """The server sent what it must not send."""


class FrameReader:
    """Cuts what arrives into frames, wherever it was parted on its way."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now. Raises ProtocolError for one that is longer than allowed."""
        if self._rest:
            data = self._rest + data
        begin, size, unpack, make = 0, len(data), _HEAD.unpack_from, Frame._make
        while size - begin >= HEAD_BYTES:
            first, flags, stream = unpack(data, begin)
            end = begin + HEAD_BYTES + (first >> 8)
            if end > size:
                if first >> 8 > MAX_FRAME_BYTES:
                    raise ProtocolError(f"a frame of {first >> 8} bytes")
                break
            yield make((first & 0xFF, flags, stream & MAX_STREAM_ID, data[begin + HEAD_BYTES : end]))
            begin = end
        self._rest = data[begin:]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    return _HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings(values: dict[Setting, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(Kind.SETTINGS, 0, 0, b"".join(struct.pack(">HI", key, value) for key, value in values.items()))


def read_settings(payload: bytes) -> dict[int, int]:
    """Return what a SETTINGS frame says."""
    return dict(struct.iter_unpack(">HI", payload))


def window_update(stream: int, size: int) -> bytes:
    """Return a frame that lets the server send ``size`` bytes more; stream 0: on the whole connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, number(size))


def number(value: int) -> bytes:
    """Return a number of four bytes."""
    return struct.pack(">I", value)
