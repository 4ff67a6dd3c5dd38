"""Dry run of a step: it runs on a database that answers reads, and only notes changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from notifications_service.notification.schema import Index

_READS: Final = frozenset(
    {
        "aggregate",
        "count_documents",
        "distinct",
        "estimated_document_count",
        "find",
        "find_one",
        "full_name",
        "index_information",
        "list_collection_names",
        "list_collections",
        "list_indexes",
        "name",
        "options",
    }
)


class CannotTell(Exception):
    """The next operation of the step depends on its own earlier changes."""


class Rehearsal:
    """Notes the changes that a step makes to a database.

    ``indexes``: those that it makes, with their collections; ``validators``: those that it sets on collections;
    ``dropped``: collections that it drops or empties.
    """

    def __init__(self, database: Any) -> None:
        self._database = database
        self.indexes: list[tuple[str, Index]] = []
        self.validators: dict[str, Any] = {}
        self.dropped: list[str] = []

    async def carry_out(self, work: Callable[[Any], Awaitable[None]]) -> None:
        """Run a step's function as far as possible; the rest is checked when it is carried out."""
        # A step may fail here because nothing changes; a real failure is reported when it is carried out.
        with suppress(Exception):
            await work(_RehearsedDatabase(self._database, self))


class _RehearsedDatabase:
    def __init__(self, database: Any, notes: Rehearsal) -> None:
        self._database = database
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._database, name)
        if name in _READS:
            return value
        # Collections are known by what they can do: Motor's are of another class than PyMongo's.
        if hasattr(type(value), "update_many"):
            return self[name]
        raise CannotTell(name)

    def __getitem__(self, name: str) -> Any:
        return _RehearsedCollection(self._database[name], self._notes)

    def get_collection(self, name: str, *_: Any, **__: Any) -> Any:
        return self[name]

    async def create_collection(self, name: str, *_: Any, **options: Any) -> Any:
        if "validator" in options:
            self._notes.validators[name] = options["validator"]
        return self[name]

    async def drop_collection(self, name: Any, *_: Any, **__: Any) -> None:
        self._notes.dropped.append(name if isinstance(name, str) else name.name)

    async def command(self, command: Any, value: Any = 1, *_: Any, **options: Any) -> Mapping[str, Any]:
        name = command if isinstance(command, str) else next(iter(command))
        target = value if isinstance(command, str) else command[name]
        given = options if isinstance(command, str) else command
        if name == "drop":
            self._notes.dropped.append(target)
        elif name == "collMod":
            if "validator" in given:
                self._notes.validators[target] = given["validator"]
        elif name != "create":
            raise CannotTell(name)
        return {"ok": 1.0}


class _RehearsedCollection:
    def __init__(self, collection: Any, notes: Rehearsal) -> None:
        self._collection = collection
        self._notes = notes

    def __getattr__(self, name: str) -> Any:
        if name in _READS:
            return getattr(self._collection, name)
        raise CannotTell(name)

    def with_options(self, *_: Any, **__: Any) -> Any:
        return self

    async def create_index(self, keys: Any, *_: Any, **options: Any) -> str:
        pairs = _pairs(keys)
        name = str(options.pop("name", None) or "_".join(f"{key}_{way}" for key, way in pairs))
        self._notes.indexes.append((self._collection.name, Index(name, pairs, tuple(options.items()))))
        return name

    async def create_indexes(self, models: Sequence[Any], *_: Any, **__: Any) -> list[str]:
        documents = [dict(model.document) for model in models]
        return [await self.create_index(list(document.pop("key").items()), **document) for document in documents]

    async def drop_index(self, *_: Any, **__: Any) -> None:
        return

    async def drop(self, *_: Any, **__: Any) -> None:
        self._notes.dropped.append(self._collection.name)

    async def delete_many(self, query: Any, *_: Any, **__: Any) -> None:
        if not query:
            self._notes.dropped.append(self._collection.name)
        raise CannotTell("delete_many")


def _pairs(keys: Any) -> tuple[tuple[str, Any], ...]:
    if isinstance(keys, str):
        return ((keys, 1),)
    listed = keys.items() if isinstance(keys, Mapping) else keys
    return tuple((key, 1) if isinstance(key, str) else (key[0], key[1]) for key in listed)
