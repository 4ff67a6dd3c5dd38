"""The header list that an error travels in: how large it is once it is encoded, and what fits into it.

An error is sent in the trailing headers of a call, whose size each peer limits: grpc-java, and most proxies, to 8,192
bytes. What exceeds that is not cut; the client sees a broken call, and no reason. A header list counts 32 bytes for
each entry beside its name and value (RFC 9113, 6.5.2; RFC 7541, 4.1), and values as gRPC writes them: the message
percent-encoded, the details in base64.
"""

from __future__ import annotations

from typing import Final

# The smallest limit in common use.
MOST_BYTES: Final = 8_192
# Of that, what servers and proxies on the way add: `server`, `date`, ids of requests, what encodings they accept.
OTHERS_BYTES: Final = 1_024
# Of a text that may repeat what the caller sent: characters, and bytes in UTF-8.
MAX_TEXT_CHARACTERS: Final = 500
MAX_TEXT_BYTES: Final = 600

# What an entry counts beside its name and value.
ENTRY_BYTES: Final = 32
# What gRPC does not percent-encode in a message.
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte != ord("%"))
# Entries of every error, with the longest values that they can have.
_FIXED: Final = {":status": 3, "content-type": 16, "grpc-status": 2}


def cut(text: str, characters: int = MAX_TEXT_CHARACTERS, most: int = MAX_TEXT_BYTES) -> str:
    """Return the beginning of a text, whole characters only, that has at most so many and so many bytes in UTF-8."""
    if len(text) <= min(characters, most) and text.isascii():
        return text
    # Text that Python holds need not be valid; an error arrives all the same.
    return text[:characters].encode(errors="replace")[:most].decode(errors="ignore")


def room_for_details(message: str, request_id: str) -> int:
    """Return how many bytes ``grpc-status-details-bin`` may have, before base64, beside the rest of an error."""
    values = {
        **_FIXED,
        "grpc-message": _percent_encoded(message),
        "x-request-id": len(request_id),
        "grpc-status-details-bin": 0,
    }
    taken = sum(len(name) + size + ENTRY_BYTES for name, size in values.items())
    # Four characters for three bytes; some encoders fill up the last four.
    return (MOST_BYTES - OTHERS_BYTES - taken) // 4 * 3


def _percent_encoded(message: str) -> int:
    content = message.encode()
    return len(content) + 2 * len(content.translate(None, _PLAIN))
