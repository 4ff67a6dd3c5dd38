"""Calls as bytes, with metadata that gRPC's own client would never send."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from hpack import Encoder

from tests.bench import http2
from tests.bench.http2 import Kind
from tests.harness.patience import PATIENCE_SECONDS

# An index of HPACK's table (RFC 7541, 2.3.3): the newest entry of the dynamic one, in one byte.
NEWEST = b"\xbe"
METHOD = "/vibework.users.v1.SessionService/ValidateSession"
EMPTY_MESSAGE = bytes(5)


def metadata(name: bytes, value: bytes, times: int) -> bytes:
    """Return a header block of a call whose metadata holds a value so often, once whole and then by reference."""
    beginning = Encoder().encode(
        [
            *((":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "x")),
            *(("te", "trailers"), ("content-type", "application/grpc")),
        ]
    )
    literal = b"\x40" + _text(name) + _text(value)
    return bytes(beginning) + literal + NEWEST * (times - 1)


def send(address: str, blocks: Sequence[bytes]) -> socket.socket:
    """Open a connection and begin a call for each header block on it; the caller closes it.

    The connection has said that it takes all that comes.
    """
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
    connection.sendall(http2.PREFACE + http2.settings({}))
    for number, block in enumerate(blocks):
        connection.sendall(_call(2 * number + 1, block))
    return connection


def _call(stream: int, block: bytes) -> bytes:
    size = http2.MAX_FRAME_BYTES
    pieces = [block[start : start + size] for start in range(0, len(block), size)]
    kinds = [Kind.HEADERS, *[Kind.CONTINUATION] * (len(pieces) - 1)]
    frames = [
        http2.frame(kind, http2.END_HEADERS if number == len(pieces) - 1 else 0, stream, piece)
        for number, (kind, piece) in enumerate(zip(kinds, pieces, strict=True))
    ]
    return b"".join(frames) + http2.frame(Kind.DATA, http2.END_STREAM, stream, EMPTY_MESSAGE)


def _text(text: bytes) -> bytes:
    if len(text) > 126:
        raise ValueError("longer texts take a longer form")
    return bytes([len(text)]) + text
