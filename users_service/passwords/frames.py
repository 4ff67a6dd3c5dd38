"""The protocol between the service and a hashing process: frames of byte strings, over a stream socket."""

from __future__ import annotations

from typing import Final

# Requests.
HASH: Final = b"hash"
VERIFY: Final = b"verify"
# Outcomes.
DONE: Final = b"done"
FAILED: Final = b"failed"

LENGTH_BYTES: Final = 4


def pack(*fields: bytes) -> bytes:
    """Return a frame: its length, then the length and the bytes of each field."""
    body = b"".join(len(field).to_bytes(LENGTH_BYTES, "big") + field for field in fields)
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def length(head: bytes) -> int:
    """Return the length of the body that follows a frame's first ``LENGTH_BYTES``."""
    return int.from_bytes(head, "big")


def unpack(body: bytes) -> list[bytes]:
    """Return the fields of a frame's body."""
    fields, start = [], 0
    while start < len(body):
        begin = start + LENGTH_BYTES
        start = begin + length(body[start:begin])
        fields.append(body[begin:start])
    return fields
