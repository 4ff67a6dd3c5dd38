"""Attacks below the calls: bytes that are no HTTP/2, frames that are no calls, and calls that no client makes.

Each is a coroutine that says how it ended: `grpc-status` and its number, with a reason where the service answered and
not gRPC's core; `HTTP` and a status, `reset`, `closed`, or `silence`.
"""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from random import Random
from typing import Final

from vibework.testing.local.ports import LOOPBACK

from tests.bench import http2
from tests.bench.http2 import Code, Kind, Setting
from tests.contract.servers import DETAILS
from tests.fuzzing.texts import BODY, SECRET
from tests.unit.chassis.raw_connection import CHECK, RawConnection, connected, framed

# How long an answer is waited for where there may be none.
SILENCE_SECONDS: Final = 0.5
# As much as fits, compressed, into what a server lets through before it has read any of it.
BOMB_BYTES: Final = 60 * 1024 * 1024
# So many frames or calls make a flood.
FLOOD: Final = 2_000
# In place of what a slow caller would take minutes for.
SLOW_BYTES: Final = 12
SLOW_SECONDS: Final = 0.05

_POST: Final = ((b":method", b"POST"), (b":scheme", b"http"), (b":path", CHECK), (b":authority", b"x"))
_GRPC: Final = ((b"te", b"trailers"), (b"content-type", b"application/grpc"))
PRIORITY: Final = 2
PADDED: Final = 0x8

# Where a server listens, and the path of one of its unary methods.
Attack = Callable[[int, bytes, Random], Awaitable[str]]
Headers = Sequence[tuple[bytes, bytes]]

OTHER_PROTOCOLS: Final = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n",
    b"GET /" + BODY.encode() * 20_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
    b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"SSH-2.0-x\r\n",
    b"\0" * 10_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
)

WRONG_HEADERS: Final[tuple[Headers, ...]] = (
    _GRPC,
    (*_POST[1:], *_GRPC),
    ((b":method", b"GET"), *_POST[1:], *_GRPC),
    ((b":method", b"\xff"), *_POST[1:], *_GRPC),
    (*_POST, *_POST, *_GRPC),
    (*_GRPC, *_POST),
    (*_POST, (b":status", b"200"), *_GRPC),
    (*_POST, (b":unknown", b"x"), *_GRPC),
    (*_POST[:2], (b":path", b""), _POST[3], *_GRPC),
    (*_POST[:2], (b":path", b"*"), _POST[3], *_GRPC),
    (*_POST[:2], (b":path", b"/"), _POST[3], *_GRPC),
    (*_POST[:2], (b":path", b"//" * 2_000), _POST[3], *_GRPC),
    (*_POST[:2], (b":path", b"/\xff\xfe/\0"), _POST[3], *_GRPC),
    (*_POST[:2], (b":path", CHECK + b"?a=b#c"), _POST[3], *_GRPC),
    (*_POST[:3], (b":authority", b"\xff@:99999"), *_GRPC),
    (*_POST, (b"te", b"trailers"), (b"content-type", b"text/plain")),
    (*_POST, (b"te", b"trailers"), (b"content-type", b"application/grpc+json")),
    (*_POST, (b"te", b"trailers"), (b"content-type", b"application/grpc-web")),
    (*_POST, (b"te", b"trailers")),
    (*_POST, (b"content-type", b"application/grpc")),
    (*_POST, *_GRPC, (b"X-Upper", b"y")),
    (*_POST, *_GRPC, (b"", b"y")),
    (*_POST, *_GRPC, (b"a b\r\n", b"y")),
    (*_POST, *_GRPC, (b"x", b"a\r\nb: c\0")),
    (*_POST, *_GRPC, (b"x", b"\xff\xfe")),
    (*_POST, *_GRPC, (b"x-bin", b"!!!=")),
    (*_POST, *_GRPC, (b"grpc-status-details-bin", b"A")),
    (*_POST, *_GRPC, (b"connection", b"close")),
    (*_POST, *_GRPC, (b"content-length", b"99999999999999999999")),
    (*_POST, *_GRPC, (b"content-length", b"0")),
    (*_POST, *_GRPC, (b"host", b"a"), (b"host", b"b")),
    (*_POST, *_GRPC, (b"grpc-encoding", b"\xff")),
    (*_POST, *_GRPC, (b"grpc-accept-encoding", b"," * 2_000)),
    (*_POST, *_GRPC, (b"grpc-status", b"0"), (b"grpc-message", b"%ff%")),
    (*_POST, *_GRPC, (b"x-request-id", b"\xc3\x28")),
    (*_POST, *_GRPC, (b"authorization", b"Bearer " + SECRET.encode())),
)
TIMEOUTS: Final = (b"", b"1", b"S", b"-1S", b"0n", b"1n", b"99999999H", b"999999999H", b"1X", b"1.5S", b" 1S", b"\xffS")


async def answered(connection: RawConnection, stream: int) -> str:
    """Return how a call ended, or that nothing came."""
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            answer = await connection.answer(stream)
    except TimeoutError:
        return "silence"
    except (EOFError, OSError):
        return "closed"
    if "grpc-status" in answer:
        # gRPC's core has no details.
        return f"grpc-status {answer['grpc-status']}{' with a reason' if DETAILS in answer else ''}"
    return f"HTTP {answer[':status']}" if ":status" in answer else "reset"


async def said(port: int, data: bytes) -> str:
    """Send bytes on a connection of its own."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    writer.write(data)
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            while await reader.read(65_536):
                pass
    except TimeoutError:
        return "silence"
    except OSError:
        return "closed"
    finally:
        writer.transport.abort()
    return "closed"


async def other_protocol(port: int, _: bytes, rng: Random) -> str:
    """Speak HTTP/1.1, TLS, or something else."""
    return await said(port, rng.choice(OTHER_PROTOCOLS))


async def noise(port: int, _: bytes, rng: Random) -> str:
    """Send bytes that mean nothing, before or after the preface."""
    return await said(port, rng.choice((b"", http2.PREFACE)) + rng.randbytes(rng.choice((1, 9, 100, 20_000))))


async def random_frames(port: int, _: bytes, rng: Random) -> str:
    """Send frames of any kind, on any stream, of any length, in any order."""
    frames = []
    for _each in range(rng.randint(1, 60)):
        payload = rng.randbytes(rng.choice((0, 1, 4, 5, 6, 8, 40)))
        frame = http2.frame(rng.randrange(12), rng.randrange(256), rng.choice((0, 1, 2, 3, 5, 2**31 - 1)), payload)
        frames.append(rng.choice((b"", b"", b"\xff")) + frame[rng.choice((0, 0, 0, 1)) :])
    return await said(port, http2.PREFACE + http2.settings({}) + b"".join(frames))


async def cut_call(port: int, path: bytes, rng: Random) -> str:
    """Send a call, cut off anywhere, or with a few bits turned."""
    data = bytearray(http2.PREFACE + http2.settings({}) + _whole_call(path))
    if rng.random() < 0.5:
        return await said(port, bytes(data[: rng.randrange(len(data))]))
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(24, len(data))] ^= 1 << rng.randrange(8)
    return await said(port, bytes(data))


def _whole_call(path: bytes) -> bytes:
    from hpack import Encoder

    block = Encoder().encode([*_POST[:2], (b":path", path), _POST[3], *_GRPC], huffman=False)
    head = http2.frame(Kind.HEADERS, http2.END_HEADERS, 1, block)
    return head + http2.frame(Kind.DATA, http2.END_STREAM, 1, framed(b"\x0a\x01x"))


async def header_flood(port: int, path: bytes, rng: Random) -> str:
    """Send more headers than may be: many small ones, a few large ones, or ones that never end."""
    async with connected(port, acknowledging=rng.random() < 0.5) as connection:
        number, size = rng.choice(((5_000, 4), (500, 200), (4, 60_000), (1, 1_000_000)))
        headers = [(f"x-{each}".encode(), b"y" * size) for each in range(number)]
        stream = connection.call(path, headers, message=b"")
        if rng.random() < 0.3:
            connection.send(http2.frame(Kind.HEADERS, 0, stream + 2, b"\x83"))
            connection.send(http2.frame(Kind.CONTINUATION, 0, stream + 2, b"\x40\x01a\x01b" * 100) * 500)
        return await answered(connection, stream)


async def header_bomb(port: int, path: bytes, rng: Random) -> str:
    """Send a header once, and then refer to it: a few bytes on the wire are megabytes of headers."""
    async with connected(port, acknowledging=rng.random() < 0.5) as connection:
        block = b"\xbe" * rng.choice((1_000, 16_000, 60_000))
        return await answered(connection, connection.call(path, [(b"x-bomb", b"y" * 3_000)], block, message=b""))


async def rapid_reset(port: int, path: bytes, rng: Random) -> str:
    """Begin calls and take them back at once (CVE-2023-44487)."""
    async with connected(port) as connection:
        message = rng.choice((None, b"", b"\x0a\x01x"))
        for number in range(FLOOD):
            stream = connection.call(path, message=message)
            connection.send(http2.frame(Kind.RST_STREAM, 0, stream, http2.number(rng.choice((Code.CANCEL, 0, 99)))))
            if number % 100 == 0:
                await asyncio.sleep(0)
        return await answered(connection, connection.call(CHECK, message=b""))


async def frame_flood(port: int, _: bytes, rng: Random) -> str:
    """Send frames that cost their reader something and carry nothing (CVE-2019-9511 to 9518)."""
    frame = rng.choice(
        (
            http2.settings({}),
            http2.settings({Setting.INITIAL_WINDOW_SIZE: 0}),
            http2.frame(Kind.PING, 0, 0, bytes(8)),
            http2.frame(PRIORITY, 0, 1, bytes(5)),
            http2.window_update(0, 1),
            http2.frame(Kind.DATA, 0, 1),
            http2.frame(Kind.RST_STREAM, 0, 1, bytes(4)),
            http2.frame(Kind.GOAWAY, 0, 0, bytes(8)),
            http2.frame(77, 255, 0, b"unknown"),
        )
    )
    async with connected(port) as connection:
        connection.send(frame * FLOOD)
        return await answered(connection, connection.call(CHECK, message=b""))


async def slow(port: int, path: bytes, rng: Random) -> str:
    """Send a call byte by byte, and stop before it is whole (slow loris)."""
    data = http2.PREFACE + http2.settings({}) + _whole_call(path)
    begin = rng.randrange(len(data) - SLOW_BYTES)
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(data[:begin])
        for place in range(begin, begin + SLOW_BYTES):
            writer.write(data[place : place + 1])
            await asyncio.sleep(SLOW_SECONDS)
    finally:
        writer.transport.abort()
    return "closed" if reader.at_eof() else "silence"


@cache
def bomb(kind: str, size: int) -> bytes:
    """Return zeros, compressed as gRPC's `gzip` or `deflate`."""
    return gzip.compress(bytes(size)) if kind == "gzip" else zlib.compress(bytes(size))


async def compressed(port: int, path: bytes, rng: Random) -> str:
    """Compress a message: a bomb, one that is broken, or one of an encoding that is none."""
    encoding = rng.choice((b"gzip", b"gzip", b"deflate", b"br", b"identity", b"gzip,gzip"))
    kind = "deflate" if encoding == b"deflate" else "gzip"
    whole = bomb(kind, rng.choice((100, 5 * 1024 * 1024, BOMB_BYTES)))
    message = rng.choice((whole, whole[:-9], whole[:20], b"", rng.randbytes(100), gzip.compress(whole)))
    async with connected(port) as connection:
        stream = connection.call(path, [(b"grpc-encoding", encoding)])
        body = framed(message, rng.choice((1, 1, 1, 0, 255)))
        for start in range(0, len(body), http2.MAX_FRAME_BYTES):
            part = body[start : start + http2.MAX_FRAME_BYTES]
            connection.send(http2.frame(Kind.DATA, http2.END_STREAM * (start + len(part) == len(body)), stream, part))
        return await answered(connection, stream)


async def wrong_frames_of_messages(port: int, path: bytes, rng: Random) -> str:
    """Frame a message wrongly: too short, too long, twice, after its end, or in padding."""
    one, end = framed(b"\x0a\x01x"), http2.END_STREAM
    data, flags, after = rng.choice(
        (
            (one[:-1], end, b""),
            (one[:3], end, b""),
            (b"", end, b""),
            (b"\0\xff\xff\xff\xff", end, b""),
            (b"\0\x7f\xff\xff\xffx", 0, b""),
            (one * 2, end, b""),
            (one * 200, end, b""),
            (one + b"rest", end, b""),
            (b"\x02" + one[1:], end, b""),
            (one, end, one),
            (b"\xff" + one, end | PADDED, b""),
            (b"\x02" + one + b"\0\0", end | PADDED, b""),
        )
    )
    async with connected(port) as connection:
        stream = connection.call(path)
        connection.send(http2.frame(Kind.DATA, flags, stream, data))
        if after:
            connection.send(http2.frame(Kind.DATA, end, stream, after))
        return await answered(connection, stream)


async def wrong_headers(port: int, path: bytes, rng: Random) -> str:
    """Begin a call with headers that it must not have, or without what it must have."""
    async with connected(port) as connection:
        headers = [(name, path if value == CHECK else value) for name, value in rng.choice(WRONG_HEADERS)]
        stream = connection.begin(headers, flags=rng.choice((0, 0, 0, http2.END_STREAM)))
        connection.send(http2.frame(Kind.DATA, http2.END_STREAM, stream, framed(b"")))
        return await answered(connection, stream)


async def wrong_timeout(port: int, path: bytes, rng: Random) -> str:
    """Ask for a deadline that is none."""
    async with connected(port) as connection:
        return await answered(connection, connection.call(path, [(b"grpc-timeout", rng.choice(TIMEOUTS))], message=b""))


async def small_window(port: int, _: bytes, rng: Random) -> str:
    """Take no bytes, or one at a time, and say that far more may come than may."""
    async with connected(port, window=rng.choice((0, 1))) as connection:
        stream = connection.call(CHECK, message=b"")
        for size in rng.choice(((1,) * 20, (2**31 - 1, 2**31 - 1), (0,))):
            connection.send(http2.window_update(rng.choice((0, stream)), size))
        return await answered(connection, stream)


ATTACKS: Final[dict[str, Attack]] = {
    "HTTP/1.1 and others": other_protocol,
    "noise": noise,
    "random frames": random_frames,
    "cut or turned call": cut_call,
    "header flood": header_flood,
    "header bomb": header_bomb,
    "rapid reset": rapid_reset,
    "frame flood": frame_flood,
    "slow loris": slow,
    "compressed": compressed,
    "wrong frames of messages": wrong_frames_of_messages,
    "wrong headers": wrong_headers,
    "wrong timeout": wrong_timeout,
    "small window": small_window,
}
