"""What is done to a request that is right: each way has a name, by which the results are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache, partial
from random import Random
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.described import with_rules
from tests.contract.extremes import BAD, VALUES
from tests.contract.fieldpaths import FieldPath, field_paths
from tests.fuzzing import encoding, plausible, texts
from tests.fuzzing.rows import Rows

MESSAGE_BYTES: Final = 4 * 1024 * 1024
_TIMES: Final = {"google.protobuf.Timestamp": Timestamp, "google.protobuf.Duration": Duration}
_LENGTHS: Final = (255, 256, 4_096, 65_536, 1_000_000)


@dataclass
class Draft:
    """A request that is right, and what changes it: a generator of its own, and the rows that there are.

    ``metadata``: sent with it. ``tail``: bytes after those of the message.
    """

    rng: Random
    method: MethodDescriptor
    message: Any
    rows: Rows
    metadata: list[tuple[str, str | bytes]] = field(default_factory=list)
    tail: bytes = b""

    @property
    def paths(self) -> tuple[FieldPath, ...]:
        """The fields of the request."""
        return _paths(self.method.input_type)

    def any_path(self, *kinds: str) -> FieldPath | None:
        """Return one of the fields of these types, or of any; None where there is none."""
        found = [path for path in self.paths if not kinds or path.kind in kinds]
        return self.rng.choice(found) if found else None

    def plausible(self, path: FieldPath) -> Any:
        """Return a value that the field may well have."""
        masked = plausible.masked_names(self.method.input_type, self.method.output_type)
        return plausible.value_for(path, self.rng, self.rows, masked)

    def encoded(self) -> bytes:
        """Return the bytes of the request."""
        content: bytes = self.message.SerializeToString() + self.tail
        return content


# Returns the bytes to send.
Mutation = Callable[[Draft], bytes]


@cache
def _paths(descriptor: Descriptor) -> tuple[FieldPath, ...]:
    return tuple(field_paths(descriptor))


def valid(draft: Draft) -> bytes:
    """Leave it as it is."""
    return draft.encoded()


def filled(draft: Draft) -> bytes:
    """Set some of the other fields, too, to what they may well be."""
    unset = [path for path in draft.paths if not _is_set(path, draft.message)]
    for path in draft.rng.sample(unset, min(len(unset), draft.rng.randint(1, 6))):
        path.put(draft.message, draft.plausible(path))
    return draft.encoded()


def _is_set(path: FieldPath, message: Any) -> bool:
    for each in path.fields[:-1]:
        value = getattr(message, each.name)
        if each.is_repeated and not value:
            return False
        message = value[0] if each.is_repeated else value
    return path.fields[-1] in {each for each, _ in message.ListFields()}


def missing(draft: Draft) -> bytes:
    """Leave a field out."""
    present = draft.message.ListFields()
    if present:
        draft.message.ClearField(draft.rng.choice(present)[0].name)
    return draft.encoded()


def at_the_limit(draft: Draft) -> bytes:
    """Make a text as long as may be, or one longer, or far longer; or a list."""
    path = draft.any_path("string")
    if path is None:
        return draft.encoded()
    limit = draft.rng.choice(_limits(path) or _LENGTHS)
    unit = draft.rng.choice(("a", "\u00e4", "\U0001f600", "0"))
    path.put(draft.message, unit * max(0, limit + draft.rng.choice((-1, 0, 1))))
    return draft.encoded()


@cache
def _limits(path: FieldPath) -> tuple[int, ...]:
    """Return the lengths that the rules of a field name."""
    options: Any = with_rules(path.fields[-1].GetOptions())
    rules = [value for key, value in options.ListFields() if key.full_name == "buf.validate.field"]
    return tuple(_numbers(rules[0])) if rules else ()


def _numbers(rules: Message) -> Iterable[int]:
    for key, value in rules.ListFields():
        if isinstance(value, Message):
            yield from _numbers(value)
        elif key.name in {"min_len", "max_len", "max_bytes", "len", "min_items", "max_items", "max_pairs"}:
            yield int(value)


def extreme(draft: Draft) -> bytes:
    """Set a number or a time to an end of its type, or beyond."""
    path = draft.any_path(*VALUES)
    if path is not None:
        path.put(draft.message, draft.rng.choice((*VALUES[path.kind], *BAD.get(path.kind, ()))))
    return draft.encoded()


def hostile(kind: str, draft: Draft) -> bytes:
    """Put a text of a kind into a field: alone, or within what it should be."""
    path = draft.any_path("string", "bytes")
    if path is None:
        return draft.encoded()
    text = draft.rng.choice(texts.HOSTILE[kind])
    if path.kind == "bytes":
        path.put(draft.message, text.encode())
        return draft.encoded()
    mark = texts.SECRET if path.fields[-1].GetOptions().debug_redact else texts.BODY
    shapes = (text, f"{text}{mark}", f"{mark}{text}{mark}", f"{draft.plausible(path)}{text}")
    path.put(draft.message, draft.rng.choice(shapes))
    return draft.encoded()


def hostile_object(draft: Draft) -> bytes:
    """Give a JSON object keys and values that databases may take for something else."""
    path = draft.any_path("google.protobuf.Struct")
    if path is None:
        return draft.encoded()
    rng, struct = draft.rng, Struct()
    for key in rng.sample(texts.KEYS, 3):
        text = rng.choice(rng.choice(list(texts.HOSTILE.values())))
        struct.update({key: rng.choice((text, {key: text}, [text] * 3, 1e308, -0.0, None, {}, []))})
    path.put(draft.message, struct)
    return draft.encoded()


def wrong_mask(draft: Draft) -> bytes:
    """Name in a mask what it may not name."""
    path = draft.any_path("google.protobuf.FieldMask")
    if path is not None:
        path.put(draft.message, FieldMask(paths=draft.rng.choice(texts.MASKS)))
    return draft.encoded()


def wrong_token(draft: Draft) -> bytes:
    """Alter a token that was issued, or use it where it was not issued."""
    names = ("token", "as_of", "etag")
    found = [path for path in draft.paths if path.kind == "string" and path.fields[-1].name.endswith(names)]
    if not found or not draft.rows.tokens:
        return draft.encoded()
    rng, path = draft.rng, draft.rng.choice(found)
    token = rng.choice(draft.rows.tokens)
    place = rng.randrange(len(token))
    altered = token[:place] + rng.choice("Aa0-_=.\u00e9") + token[place + 1 :]
    path.put(draft.message, rng.choice((token, altered, token[:place], token + token, token + "=", f" {token}")))
    return draft.encoded()


def not_utf8(draft: Draft) -> bytes:
    """Put bytes into a text that are none."""
    path = draft.any_path("string")
    if path is not None:
        wrong = draft.rng.choice(texts.NOT_UTF8)
        content = encoding.field(path.fields[-1].number, draft.rng.choice((wrong, b"abc" + wrong, wrong * 100)))
        draft.tail += encoding.wrapped(path.fields[:-1], content)
    return draft.encoded()


def unknown_fields(draft: Draft) -> bytes:
    """Add fields that the contract does not have, at any depth."""
    rng, path = draft.rng, draft.any_path()
    above = path.fields[: rng.randrange(len(path.fields))] if path is not None else ()
    kinds = (encoding.VARINT, encoding.FIXED64, encoding.LENGTH, encoding.START_GROUP, encoding.FIXED32)
    content = b"".join(
        encoding.of_kind(rng, rng.choice(encoding.UNKNOWN), rng.choice(kinds)) for _ in range(rng.choice((1, 3, 500)))
    )
    draft.tail += encoding.wrapped(above, content)
    return draft.encoded()


def both_of_a_choice(draft: Draft) -> bytes:
    """Set several fields of which there may be one, the one after the other; or a field twice."""
    groups: dict[Any, list[FieldPath]] = {}
    for path in draft.paths:
        for depth, each in enumerate(path.fields):
            if each.containing_oneof is not None and len(each.containing_oneof.fields) > 1:
                groups.setdefault((path.fields[:depth], each.containing_oneof.name), []).append(path)
    chosen = draft.rng.choice(list(groups.values())) if groups else list(draft.paths)
    for path in draft.rng.sample(chosen, min(len(chosen), 4)):
        other = type(draft.message)()
        path.put(other, draft.plausible(path))
        draft.tail += other.SerializeToString()
    return draft.encoded()


def twice(draft: Draft) -> bytes:
    """Send the same message twice in one: what is repeated doubles, the rest is merged."""
    return draft.encoded() * 2


def many_items(draft: Draft) -> bytes:
    """Give a list one item more than it may have, or many more."""
    found = [path for path in draft.paths for each in path.fields if each.is_repeated]
    if not found:
        return draft.encoded()
    path = draft.rng.choice(found)
    other = type(draft.message)()
    path.put(other, draft.plausible(path))
    item = other.SerializeToString()
    most = max(1, MESSAGE_BYTES // 8 // max(1, len(item)))
    draft.tail += item * min(most, draft.rng.choice((21, 101, 1_001, 20_000)))
    return draft.encoded()


def huge(draft: Draft) -> bytes:
    """Send a text of megabytes, which is still no larger than a message may be."""
    path = draft.any_path("string")
    if path is not None:
        path.put(draft.message, texts.BODY * (draft.rng.choice((100_000, 1_000_000, 3_900_000)) // len(texts.BODY)))
    return draft.encoded()


def too_large(draft: Draft) -> bytes:
    """Send more than a message may be."""
    draft.tail += encoding.field(encoding.UNKNOWN[0], bytes(MESSAGE_BYTES + draft.rng.choice((0, 1, 100_000))))
    return draft.encoded()


def deep(draft: Draft) -> bytes:
    """Nest values, unknown fields or groups as deep as parsers go, and deeper."""
    rng, depth = draft.rng, draft.rng.choice(encoding.DEPTHS)
    path = draft.any_path("google.protobuf.Struct")
    if path is not None and rng.random() < 0.8:
        value = encoding.struct_of(encoding.nested_values(depth))
        draft.tail += encoding.wrapped(path.fields, value)
        return draft.encoded()
    number = rng.choice((1, 2, encoding.UNKNOWN[0]))
    draft.tail += encoding.groups(number, depth, closed=rng.random() < 0.7)
    return draft.encoded()


def wrong_kind(draft: Draft) -> bytes:
    """Send a field as what it is not: a number where a text stands, a group where a message does."""
    path = draft.any_path()
    above, number = (path.fields[:-1], path.fields[-1].number) if path is not None else ((), 1)
    draft.tail += encoding.wrapped(above, encoding.of_kind(draft.rng, number, draft.rng.randrange(6)))
    return draft.encoded()


def broken_length(draft: Draft) -> bytes:
    """End with a field that is longer than the message."""
    draft.tail += encoding.broken_lengths(draft.rng)
    return draft.encoded()


def truncated(draft: Draft) -> bytes:
    """Cut it off anywhere."""
    content = draft.encoded()
    return content[: draft.rng.randrange(len(content) + 1)]


def flipped(draft: Draft) -> bytes:
    """Turn a few bits of it."""
    content = bytearray(draft.encoded())
    for _ in range(draft.rng.randint(1, 8) if content else 0):
        content[draft.rng.randrange(len(content))] ^= 1 << draft.rng.randrange(8)
    return bytes(content)


def random_bytes(draft: Draft) -> bytes:
    """Send bytes that mean nothing."""
    return draft.rng.randbytes(draft.rng.choice((1, 5, 40, 300, 5_000)))


def metadata(draft: Draft) -> bytes:
    """Send it with metadata that is hostile, or a lot."""
    draft.metadata += draft.rng.choice(texts.METADATA)
    return draft.encoded()


def two_at_once(draft: Draft) -> bytes:
    """Change it in two ways, of which the first leaves a message."""
    first = draft.rng.choice((filled, extreme, at_the_limit, wrong_mask, hostile_object))
    first(draft)
    return draft.rng.choice((*_TEXTUAL.values(), extreme, not_utf8, unknown_fields, both_of_a_choice))(draft)


_TEXTUAL: Final[dict[str, Mutation]] = {kind: partial(hostile, kind) for kind in texts.HOSTILE}

# By name: the mutation, and how often it comes. What costs megabytes is rare.
MUTATIONS: Final[dict[str, tuple[Mutation, float]]] = {
    "valid": (valid, 8),
    "filled": (filled, 12),
    "missing": (missing, 3),
    "at the limit": (at_the_limit, 6),
    "extreme": (extreme, 8),
    **{kind: (mutation, 3) for kind, mutation in _TEXTUAL.items()},
    "hostile object": (hostile_object, 2),
    "wrong mask": (wrong_mask, 2),
    "wrong token": (wrong_token, 4),
    "not UTF-8": (not_utf8, 4),
    "unknown fields": (unknown_fields, 3),
    "both of a choice": (both_of_a_choice, 4),
    "twice": (twice, 2),
    "many items": (many_items, 0.5),
    "huge": (huge, 0.25),
    "too large": (too_large, 0.1),
    "deep": (deep, 3),
    "wrong kind": (wrong_kind, 4),
    "broken length": (broken_length, 2),
    "truncated": (truncated, 4),
    "flipped": (flipped, 4),
    "random bytes": (random_bytes, 2),
    "metadata": (metadata, 4),
    "two at once": (two_at_once, 6),
}
