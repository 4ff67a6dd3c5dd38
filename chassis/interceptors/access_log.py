"""Access log: one line per RPC with method, code, duration, peer, request id and error reason.

Never a body, and of the metadata only the request id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from time import monotonic, time
from typing import Final

import orjson

from chassis.context.calls import Call
from chassis.logs import logging

_WRITE_AFTER_SECONDS: Final = 0.1
_WRITE_AT: Final = 128
_MAX_PEERS: Final = 10_000


# Method, code, reason, request id, start, end, peer, trace id. Strings and numbers only, because a reference to the
# call would keep gRPC's memory of it; a plain tuple, because one is made for every call.
Entry = tuple[str, str, str, str, float, float, str, str]
WriteEntries = Callable[[list[Entry]], None]


class AccessLog:
    """Keeps finished calls for up to 0.1 s and writes their lines together.

    Formatting lines in a batch takes a third of the time of formatting each between calls, with cold caches.
    """

    def __init__(self, write: WriteEntries) -> None:
        self._write = write
        self._entries: list[Entry] = []
        self._scheduled = False

    def add(self, call: Call) -> None:
        """Note a call that has just ended."""
        entries = self._entries
        peer = call.context.peer()
        entry = (call.method, call.code, call.reason, call.request_id, call.started, monotonic(), peer, call.trace_id)
        entries.append(entry)
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_later(_WRITE_AFTER_SECONDS, self._on_timer)
        elif len(entries) >= _WRITE_AT:
            self.flush()

    def flush(self) -> None:
        """Write the lines of the calls noted so far."""
        entries, self._entries = self._entries, []
        if entries:
            self._write(entries)

    def _on_timer(self) -> None:
        self._scheduled = False
        self.flush()


def write_readably(entries: list[Entry]) -> None:
    """Write entries through structlog, for people."""
    log = logging.get("chassis.access")
    for method, code, reason, request_id, started, ended, peer, trace_id in entries:
        fields = {name: value for name, value in (("reason", reason), ("trace_id", trace_id)) if value}
        milliseconds = round((ended - started) * 1_000, 3)
        log.info("rpc", method=method, code=code, ms=milliseconds, peer=peer, request_id=request_id, **fields)


class JsonLines:
    """Writes entries as JSON lines, put together by hand: half the cost of a dictionary and a serialiser.

    Methods, codes and reasons are names of ours, and a request id has safe characters only
    (``chassis.context.calls``), so the peer is all that needs escaping.
    """

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._peers: dict[str, str] = {}

    def __call__(self, entries: list[Entry]) -> None:
        """Write entries, as one piece."""
        self._write("\n".join(self._lines(entries)).encode())

    def _lines(self, entries: list[Entry]) -> Iterator[str]:
        clock = time() - monotonic()
        last, prefix = -1, ""
        for method, code, reason, request_id, started, ended, peer, trace_id in entries:
            second, millisecond = divmod(int((clock + ended) * 1_000), 1_000)
            if second != last:
                last, prefix = second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            yield (
                f'{{"timestamp":"{prefix}.{millisecond:03}Z","level":"info","event":"rpc","method":"{method}",'
                f'"code":"{code}","ms":{int((ended - started) * 1_000_000 + 0.5) / 1_000},'
                f'"peer":{self._peers.get(peer) or self._escaped(peer)},"request_id":"{request_id}"'
                f"{_rest(reason, trace_id) if reason or trace_id else '}'}"
            )

    def _escaped(self, peer: str) -> str:
        if len(self._peers) >= _MAX_PEERS:
            self._peers.clear()
        escaped = self._peers[peer] = orjson.dumps(peer).decode()
        return escaped


def _rest(reason: str, trace_id: str) -> str:
    told = f',"reason":"{reason}"' if reason else ""
    return f'{told},"trace_id":"{trace_id}"}}' if trace_id else f"{told}}}"
