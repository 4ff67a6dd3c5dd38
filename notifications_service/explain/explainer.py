"""A database that has each command explained instead of carried out.

Repositories are called as always. Commands that they build themselves are sent as they are, inside ``explain``; calls
of the driver's methods are turned into the commands that the driver would send. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from bson import Timestamp
from pymongo.errors import OperationFailure

from chassis.context import statements
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import Collection
from notifications_service.settings import DatabaseSettings

T = TypeVar("T")

_EXPLAINED: Final = frozenset({"find", "aggregate", "update", "delete", "findAndModify"})
DENIED: Final = 13
# In place of a plan that the account may not see: explaining a command takes the privilege to run it.
NOT_ALLOWED: Final[Document] = {}
_NOW: Final = Timestamp(1, 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """The name of a command and the server's explanation; None for a command without a plan."""

    name: str
    command: Document
    answer: Document | None


class Explainer(Database):
    """Stands in for the database that repositories are given; ``analyze``: let the server count what it reads."""

    def __init__(self, settings: DatabaseSettings, *, analyze: bool) -> None:
        # What takes long is the explaining, not the command: no slow statement is told.
        super().__init__(settings.model_copy(update={"slow_query_ms": 0}))
        self.plans: list[Plan] = []
        # The answer to the next command.
        self.rows: Sequence[Document] = ()
        self._verbosity = "executionStats" if analyze else "queryPlanner"
        self._server = self.default
        # Of the driver's type for those who use it.
        self.default: Any = _Default(self)

    @property
    def server(self) -> Any:
        """The database itself."""
        return self._server

    def collection(self, name: str) -> Collection:
        """Return a collection that explains."""
        return cast("Collection", ExplainingCollection(name, self))

    async def transaction(self, work: Callable[[Any], Awaitable[T]]) -> T:
        """Call ``work`` without a session."""
        return await work(None)

    async def explain(self, command: Document) -> list[Document]:
        """Explain a command, and answer it with the rows of the example, once."""
        # An explanation reads no data, so a read concern is refused.
        asked = {name: value for name, value in command.items() if name != "readConcern"}
        answer = await self._ask(asked) if next(iter(command)) in _EXPLAINED else None
        self.plans.append(Plan(statements.current(), asked, answer))
        rows, self.rows = list(self.rows), ()
        return rows

    async def _ask(self, command: Document) -> Document:
        try:
            answer: Document = await self._server.command({"explain": command, "verbosity": self._verbosity})
        except OperationFailure as error:
            if error.code != DENIED:
                raise
            return NOT_ALLOWED
        return answer


class _Default:
    """Stands in for the driver's database."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    async def command(self, command: Any, *_arguments: Any, **_options: Any) -> Document:
        """Explain a command."""
        rows = await self._explainer.explain({command: 1} if isinstance(command, str) else command)
        return {"ok": 1.0, "operationTime": _NOW, "cursor": {"id": 0, "firstBatch": rows, "atClusterTime": _NOW}}


class _Changed:
    """The answer to a write: one document changed."""

    modified_count = deleted_count = matched_count = 1


class ExplainingCollection:
    """Stands in for a collection: the driver's methods as the commands that it makes of them."""

    def __init__(self, name: str, explainer: Explainer) -> None:
        self.name: Final = name
        self._explainer = explainer

    async def index_information(self) -> Document:
        """Return the collection's indexes, as they are."""
        found: Document = await self._explainer.server[self.name].index_information()
        return found

    async def find(
        self, query: Document, projection: Document | None = None, **options: Any
    ) -> AsyncIterator[Document]:
        """Explain a query."""
        for row in await self._explainer.explain(_find(self.name, query, projection, options)):
            yield row

    async def find_one(self, query: Document, projection: Document | None = None, **options: Any) -> Document | None:
        """Explain a query for one document."""
        rows = await self._explainer.explain(_find(self.name, query, projection, {"limit": 1, **options}))
        return rows[0] if rows else None

    async def find_one_and_update(
        self, query: Document, update: Any, *, collation: Any, **_options: Any
    ) -> Document | None:
        """Explain a change of one document, which is returned."""
        command = {"findAndModify": self.name, "query": query, "update": update, "collation": collation}
        rows = await self._explainer.explain(command)
        return rows[0] if rows else None

    async def find_one_and_delete(self, query: Document, *, projection: Document, collation: Any) -> Document | None:
        """Explain the deletion of one document, which is returned."""
        command = {"findAndModify": self.name, "query": query, "remove": True, "collation": collation}
        rows = await self._explainer.explain(command | {"fields": projection})
        return rows[0] if rows else None

    async def bulk_write(self, requests: Sequence[Any], **_options: Any) -> _Changed:
        """Explain changes of one document each, the way in which the driver would send them."""
        for request in requests:
            # The driver's requests have no public way to their parts.
            query, update, hint = request._filter, request._doc, request._hint  # noqa: SLF001
            one = {"q": query, "u": update, "hint": hint}
            await self._explainer.explain({"update": self.name, "updates": [one]})
        return _Changed()

    async def update_many(self, query: Document, update: Any, **options: Any) -> _Changed:
        """Explain a change of many documents."""
        one = {"q": query, "u": update, "multi": True, **options}
        await self._explainer.explain({"update": self.name, "updates": [one]})
        return _Changed()

    async def delete_one(self, query: Document, **options: Any) -> _Changed:
        """Explain the deletion of one document."""
        await self._explainer.explain({"delete": self.name, "deletes": [{"q": query, "limit": 1, **options}]})
        return _Changed()

    async def delete_many(self, query: Document, **options: Any) -> _Changed:
        """Explain the deletion of many documents."""
        one = {"q": query, "limit": 0, **_without_session(options)}
        await self._explainer.explain({"delete": self.name, "deletes": [one]})
        return _Changed()

    async def insert_one(self, document: Document, **_options: Any) -> None:
        """Note an insertion: it has no plan."""
        await self.insert_many([document])

    async def insert_many(self, documents: Sequence[Document], **_options: Any) -> None:
        """Note an insertion: it has no plan."""
        await self._explainer.explain({"insert": self.name, "documents": list(documents)})


def _find(name: str, query: Document, projection: Document | None, options: Document) -> Document:
    shown = {} if projection is None else {"projection": projection}
    return {"find": name, "filter": query, **shown, **_without_session(options)}


def _without_session(options: Document) -> Document:
    return {name: value for name, value in options.items() if name != "session"}
