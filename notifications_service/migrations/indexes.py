"""Comparison of a collection's indexes with those that this service declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from chassis.commands.cli import CommandFailed
from notifications_service.migrations import declared
from notifications_service.notification import schema
from notifications_service.notification.schema import Index

# Internals of the index, and options that mean the same whether absent or false.
_IGNORED: Final = frozenset({"v", "key", "name", "ns", "background"})
# Every index inherits the collation of its collection.
_INHERITED: Final = "collation"

# TTL indexes whose retention is a setting.
_KEPT_BY_SETTING: Final = frozenset({schema.TTL_INDEX, *declared.KEPT_ALIKE.values()})

IndexDescription = Mapping[str, Any]
Indexes = Mapping[str, IndexDescription]


class IndexInTheWay(CommandFailed):
    """A collection has an index that conflicts with one of ours; nothing was changed."""

    def __init__(self, collection: str, name: str, why: str) -> None:
        super().__init__(
            f"the index {name} of {collection} is in the way: {why}. Nothing was changed. Drop it, and run this again"
        )


def title(collection: str, name: str) -> str:
    """Return the title of an index, for people."""
    return f"index {name} of {collection}"


def keys_text(keys: Any) -> str:
    """Return the keys of an index, as people write them."""
    return ", ".join(f"{key}: {direction}" for key, direction in keys)


def is_kept_by_setting(collection: str, name: str) -> bool:
    """Say whether it is a TTL index whose retention is a setting."""
    return (collection, name) in {(schema.COLLECTION, schema.TTL_INDEX), *declared.KEPT_ALIKE.items()}


def difference(wanted: Index, found: IndexDescription) -> str:
    """Say how an index differs from ours of the same name; empty where it does not.

    A retention that is a setting counts as no difference.
    """
    if _keys(found) != wanted.keys:
        return f"its keys are {keys_text(_keys(found))}, not {keys_text(wanted.keys)}"
    options = {key: value for key, value in found.items() if key not in _IGNORED and value is not False}
    expected = dict(wanted.options)
    for name in sorted((options.keys() | expected.keys()) - {_INHERITED}):
        is_setting = name == "expireAfterSeconds" and wanted.name in _KEPT_BY_SETTING and not wanted.options
        if options.get(name) != expected.get(name) and not is_setting:
            return f"it has {name}: {options.get(name)}, not {expected.get(name)}"
    return ""


def check(collection: str, wanted: Index, found: Indexes) -> None:
    """Raise IndexInTheWay where an existing index conflicts with ``wanted``: by its name, or by its keys."""
    if (same := found.get(wanted.name)) is not None:
        if why := difference(wanted, same):
            raise IndexInTheWay(collection, wanted.name, why)
        return
    for name, other in found.items():
        if _keys(other) == wanted.keys:
            raise IndexInTheWay(collection, name, f"it has the keys of {wanted.name}, which queries ask for by name")


def _keys(found: IndexDescription) -> tuple[tuple[str, Any], ...]:
    # Some clients write numbers of another type.
    return tuple((key, int(way) if isinstance(way, float) else way) for key, way in found["key"].items())
