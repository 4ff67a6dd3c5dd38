"""Fingerprints of requests: equal for equal requests, to bind a page token or a repeated request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from google.protobuf.message import Message


def fingerprint(message: Message, without: Iterable[str] = ()) -> bytes:
    """Return the SHA-256 (32 bytes) of a message and its type, leaving out the top-level fields named.

    Deterministic serialisation orders map entries. It is not canonical between releases of protobuf, so
    a fingerprint is for hours and days, never for good.
    """
    copy = type(message)()
    copy.CopyFrom(message)
    for name in without:
        copy.ClearField(name)
    digest = hashlib.sha256(message.DESCRIPTOR.full_name.encode() + b"\0")
    digest.update(copy.SerializeToString(deterministic=True))
    return digest.digest()
