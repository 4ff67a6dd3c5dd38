"""What the last headers of an answer say of a call (gRPC over HTTP/2, "Responses")."""

from __future__ import annotations

from urllib.parse import unquote

from hpack import Decoder

# How a header block begins that says "grpc-status: 0" in plain letters (RFC 7541, 6.2). None of the three forms depends
# on what came before, where the table has no room; a block that begins otherwise is decoded.
_OK = tuple(form + b"\x0bgrpc-status\x010" for form in (b"\x40", b"\x00", b"\x10"))
_NAMES = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


def failure(block: bytes) -> str:
    """Return the name of the status and its message, empty for OK. Raises ``hpack.HPACKError``."""
    if block.startswith(_OK):
        return ""
    decoder = Decoder()
    decoder.header_table_size = decoder.max_allowed_table_size = 0
    found = {str(name): str(value) for name, value in decoder.decode(block)}
    status = found.get("grpc-status", "")
    if status == "0":
        return ""
    if not status.isdigit() or int(status) >= len(_NAMES):
        return f"UNKNOWN: HTTP status {found.get(':status')}, gRPC status {status or 'missing'}"
    return f"{_NAMES[int(status)]}: {unquote(found.get('grpc-message', ''))}"
