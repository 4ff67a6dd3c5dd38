"""Bounds of lists and maps: one that is too long is cut before protovalidate sees it.

protovalidate looks at every item of a list, and reports each that breaks a rule, however many more there are than may
be: a message of 4 MiB has room for two million empty texts, which take it a minute and gigabytes. A rule that compares
items with each other takes so long for a few thousand. Cut to one item more than may be, a list is refused as before.
"""

from __future__ import annotations

from typing import Any

from chassis.interceptors.encoded_rules import ignores_items, is_ignored, most_items


class Bounds:
    """The lists and maps of a message type that may have so many items, at any depth that rules reach."""

    def __init__(self, descriptor: Any, outer: frozenset[str] = frozenset()) -> None:
        outer |= {descriptor.full_name}
        fields = [field for field in descriptor.fields if not is_ignored(field)]
        self._lists = [(field.name, most) for field in fields if (most := most_items(field)) is not None]
        inner = [(field.name, field.is_repeated, _of(field, outer)) for field in fields]
        self._inner = [(name, repeated, bounds) for name, repeated, bounds in inner if bounds]

    def __bool__(self) -> bool:
        """Say whether there is anything that has a bound."""
        return bool(self._lists or self._inner)

    def exceeded(self, message: Any) -> bool:
        """Say whether ``cut`` would take anything away."""
        return any(len(getattr(message, name)) > most + 1 for name, most in self._lists) or any(
            bounds.exceeded(each) for bounds, each in self._messages(message)
        )

    def cut(self, message: Any) -> None:
        """Leave of each list and map one item more than it may have, at most."""
        for name, most in self._lists:
            items = getattr(message, name)
            if hasattr(items, "keys"):
                for key in list(items)[most + 1 :]:
                    del items[key]
            else:
                del items[most + 1 :]
        for bounds, each in self._messages(message):
            bounds.cut(each)

    def _messages(self, message: Any) -> Any:
        for name, repeated, bounds in self._inner:
            if repeated:
                yield from ((bounds, each) for each in getattr(message, name))
            elif message.HasField(name):
                yield bounds, getattr(message, name)


def _of(field: Any, outer: frozenset[str]) -> Bounds | None:
    """Return the bounds of the messages in a field; None where it has none, or they hold themselves."""
    kind = field.message_type
    if kind is None or kind.full_name in outer or kind.GetOptions().map_entry or ignores_items(field):
        return None
    return Bounds(kind, outer)
