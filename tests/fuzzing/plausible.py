"""Values that a field may well have, by its type and its name: so that requests are taken, and reach what is behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.fieldpaths import FieldPath
from tests.fuzzing.rows import KEY_ID, PASSWORD, Rows
from tests.fuzzing.texts import SECRET

DAY: Final = 86_400
_TEXTS: Final[dict[str, Callable[[Random, Rows], str]]] = {
    "user_id": lambda _, rows: rows.user,
    "email": lambda rng, rows: rng.choice((rows.email, f"new-{rng.randrange(10**9)}@example.com")),
    "email_address": lambda _, rows: rows.email,
    "identifier": lambda _, rows: rows.email,
    "reply_to": lambda _, rows: rows.email,
    "email_contains": lambda rng, _: rng.choice(("ann", "example", "%", "_")),
    "email_ends_with": lambda rng, _: rng.choice(("@example.com", "%", "com")),
    "image": lambda *_: "https://example.com/a.png",
    "url": lambda *_: "https://example.com/a",
    "icon": lambda *_: "/icon.png",
    "ip_address": lambda rng, _: rng.choice(("203.0.113.7", "2001:db8::1", "::ffff:203.0.113.9")),
    "user_agent": lambda *_: "Browser/1 (X11; Linux)",
    "locale": lambda rng, _: rng.choice(("de", "de-AT", "en", "zh-Hant-TW", "xx")),
    "time_zone": lambda rng, _: rng.choice(("Europe/Berlin", "UTC", "America/New_York", "Asia/Kathmandu")),
    "category": lambda rng, _: rng.choice(("", "no-news", "news")),
    "categories": lambda rng, _: rng.choice(("no-news", "news")),
    "collapse_key": lambda *_: "collapsed",
    "thread_key": lambda *_: "thread",
    "purpose": lambda rng, _: rng.choice(("welcome", "sign_in", "unknown_one")),
    "etag": lambda rng, _: rng.choice(("", "x", 'W/"1"')),
    "provider": lambda rng, _: rng.choice(("google", "apple", "x")),
    "account_id": lambda rng, _: str(rng.randrange(10**9)),
    "key_id": lambda *_: KEY_ID,
    "enhanced_status": lambda *_: "5.1.1",
    "password_hash": lambda rng, _: rng.choice(
        (
            "$2b$04$abcdefghijklmnopqrstuu5s3FZqUzDs8XlRu7MRrpDQYYwtSyiG6",
            "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$" + "A" * 43,
            f"scrypt:{SECRET}:1:1",
        )
    ),
}
_TOKENS: Final = frozenset({"page_token", "resume_token", "as_of"})
_SECRETS: Final = frozenset({"password", "new_password", "current_password"})


def value_for(path: FieldPath, rng: Random, rows: Rows, masked: tuple[str, ...]) -> Any:
    """Return a value for a field; ``masked``: names that a mask may well hold."""
    field, kind = path.fields[-1], path.kind
    make = _BY_KIND.get(kind)
    if make is not None:
        return make(rng)
    if kind == "google.protobuf.FieldMask":
        return FieldMask(paths=rng.sample(masked, min(len(masked), rng.randint(1, 3))))
    if field.enum_type is not None:
        return rng.choice(sorted(field.enum_type.values_by_number))
    return _bytes(rng, field) if kind == "bytes" else _text(rng, rows, field)


def _text(rng: Random, rows: Rows, field: FieldDescriptor) -> str:
    if field.name in _TOKENS and rows.tokens:
        return rng.choice(rows.tokens)
    if field.name in _SECRETS:
        return PASSWORD
    if field.GetOptions().debug_redact and field.name not in _TEXTS:
        return f"{SECRET}-{rng.randrange(10**9)}"
    if field.name == "request_id":
        return uuid_of(rng)
    make = _TEXTS.get(field.name)
    return make(rng, rows) if make is not None else f"Text {rng.randrange(10**6)}"


def _bytes(rng: Random, field: FieldDescriptor) -> bytes:
    return b"\x04" + rng.randbytes(64) if field.name == "p256dh" else rng.randbytes(rng.choice((16, 32)))


def uuid_of(rng: Random) -> str:
    """Return a UUID (version 4) of this generator's."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _struct(rng: Random) -> Struct:
    struct = Struct()
    struct.update({"number": rng.random(), "list": [None, True, "text"], "object": {"key": "\u00e4"}})
    return struct


_BY_KIND: Final[dict[str, Callable[[Random], Any]]] = {
    "bool": lambda rng: rng.random() < 0.5,
    "google.protobuf.Timestamp": lambda rng: Timestamp(
        seconds=int(time.time()) + rng.choice((-30 * DAY, -DAY, -60, 60, DAY, 300 * DAY)),
        nanos=rng.choice((0, 1, 999_999_999)),
    ),
    "google.protobuf.Duration": lambda rng: Duration(seconds=rng.randint(1, 300)),
    "google.protobuf.Struct": _struct,
    **dict.fromkeys(("int32", "int64", "uint32", "uint64"), lambda rng: rng.randint(0, 200)),
}


def masked_names(request: Descriptor, response: Descriptor) -> tuple[str, ...]:
    """Return the fields of the first message in a request or an answer: what its masks are about."""
    for descriptor in (request, response):
        for field in descriptor.fields:
            message = field.message_type
            if message is not None and not message.full_name.startswith("google."):
                return tuple(each.name for each in message.fields)
    return ("name",)
