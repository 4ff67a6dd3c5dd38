"""Fingerprints of requests: equal for equal requests, to bind a page token or a repeated request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def fingerprint(message: Message, without: Iterable[str] = ()) -> bytes:
    """Return the SHA-256 (32 bytes) of a message and its type, leaving out the top-level fields named."""
    return digest(copy_without(message, without))


def copy_without(message: M, names: Iterable[str]) -> M:
    """Return a copy of a message with these top-level fields unset, where its type has them."""
    copy = type(message)()
    copy.CopyFrom(message)
    known = message.DESCRIPTOR.fields_by_name
    for name in names:
        if name in known:
            copy.ClearField(name)
    return copy


def digest(message: Message) -> bytes:
    """Return the SHA-256 (32 bytes) of a message and its type.

    Deterministic serialisation orders map entries. It is not canonical between releases of protobuf, so
    a fingerprint is for hours and days, never for good.
    """
    hashed = hashlib.sha256(message.DESCRIPTOR.full_name.encode() + b"\0")
    hashed.update(message.SerializeToString(deterministic=True))
    return hashed.digest()
