"""A server that speaks as much of MySQL's protocol as it takes to be taken for one that this machine does not have.

It lets everybody in, and answers each statement with rows of text that a test makes up.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any, Final

from vibework.testing.local.ports import LOOPBACK

# What is answered to a statement; None: that it was done.
Rows = Sequence[Sequence[str]] | None
Answers = Callable[[str], Rows]

# PROTOCOL_41, SECURE_CONNECTION, CONNECT_WITH_DB, PLUGIN_AUTH, TRANSACTIONS and what else a client of today expects.
CAPABILITIES: Final = 0x00080000 | 0x8000 | 0x2000 | 0x0200 | 0x0008 | 0x0004 | 0x0002 | 0x0001
UTF8MB4: Final = 45
AUTOCOMMIT: Final = 2
QUIT, QUERY = 1, 3
VARIABLE_TEXT: Final = 253
OK: Final = b"\x00\x00\x00" + struct.pack("<HH", AUTOCOMMIT, 0)
END: Final = b"\xfe" + struct.pack("<HH", 0, AUTOCOMMIT)


class FakeMySQL(ThreadingTCPServer):
    """The server; ``version``: what it says of itself in the handshake."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, version: str, answers: Answers) -> None:
        super().__init__((LOOPBACK, 0), _Connection)
        self.version = version
        self.answers = answers

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Connection(StreamRequestHandler):
    server: FakeMySQL

    def handle(self) -> None:
        self._sequence = 0
        self._send(self._handshake())
        self._receive()
        self._send(OK)
        while (command := self._receive()) and command[0] != QUIT:
            rows = self._answer(command[1:].decode()) if command[0] == QUERY else None
            for packet in _packets(rows):
                self._send(packet)

    def _answer(self, statement: str) -> Rows:
        return [(self.server.version,)] if statement == "SELECT VERSION()" else self.server.answers(statement)

    def _handshake(self) -> bytes:
        low, high = CAPABILITIES & 0xFFFF, CAPABILITIES >> 16
        start = b"\x0a" + self.server.version.encode() + b"\0" + struct.pack("<I", 1) + b"saltsalt\0"
        middle = struct.pack("<HBHHB", low, UTF8MB4, AUTOCOMMIT, high, 21) + bytes(10)
        return start + middle + b"saltsaltsalt\0mysql_native_password\0"

    def _send(self, payload: bytes) -> None:
        self.wfile.write(struct.pack("<I", len(payload))[:3] + bytes([self._sequence]) + payload)
        self._sequence = (self._sequence + 1) % 256

    def _receive(self) -> bytes:
        header = self.rfile.read(4)
        if len(header) < 4:
            return b""
        self._sequence = (header[3] + 1) % 256
        return self.rfile.read(int.from_bytes(header[:3], "little"))


def _packets(rows: Rows) -> Iterator[bytes]:
    if rows is None:
        yield OK
        return
    width = len(rows[0]) if rows else 1
    yield bytes([width])
    for index in range(width):
        names = b"".join(_text(name) for name in ("def", "", "", "", f"column_{index}", ""))
        yield names + b"\x0c" + struct.pack("<HIBHB", UTF8MB4, 1024, VARIABLE_TEXT, 0, 0) + bytes(2)
    yield END
    for row in rows:
        yield b"".join(map(_text, row))
    yield END


def _text(value: str) -> bytes:
    encoded = value.encode()
    length = bytes([len(encoded)]) if len(encoded) < 251 else b"\xfc" + struct.pack("<H", len(encoded))
    return length + encoded


@contextmanager
def fake_mysql(version: str, answers: Answers) -> Iterator[FakeMySQL]:
    """Run the server for as long as the context lasts."""
    with FakeMySQL(version, answers) as server:
        thread = threading.Thread(target=server.serve_forever, name="fake MySQL", kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def answering(known: dict[str, Any]) -> Answers:
    """Answer statements that hold a known text; every other SELECT with one 0, and every other SHOW with no row."""

    def answer(statement: str) -> Rows:
        for text, rows in known.items():
            if text in statement:
                return rows  # type: ignore[no-any-return] # rows, as the test made them up
        return {"SELECT": [("0",)], "SHOW": []}.get(statement.split(maxsplit=1)[0].upper())

    return answer
