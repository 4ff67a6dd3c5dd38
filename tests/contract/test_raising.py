"""``tests.contract.raising`` finds each way in which code can end with an error, and which errors end before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial, wraps
from typing import Final, Protocol

import pytest

from chassis.errors import Aborted, EtagMismatch, InvalidArgument, NotFound, ServiceError
from tests.contract.raising.errors import raised_by


class Lost(NotFound):
    """An error."""

    reason = "LOST"


class Stale(Aborted):
    """Another one."""

    reason = "STALE"


PASSING: Final = (Aborted, InvalidArgument)


class _Store:
    """Raises both, each from a method."""

    def __init__(self, timed_out: type[ServiceError] = Stale) -> None:
        self._timed_out = timed_out

    def find(self, id_: str) -> str:
        raise Lost(id_)

    async def change(self, work: Callable[[], Awaitable[str]]) -> str:
        if self is None:
            raise self._timed_out
        return await work()

    @property
    def newest(self) -> str:
        return self.find("newest")


class Finds(Protocol):
    """What finds."""

    def find(self, id_: str) -> str:
        """Return a text."""
        ...


@dataclass(frozen=True)
class _Found:
    """A text, or why there is none."""

    error: ServiceError | None

    def checked(self) -> None:
        raise Stale


def kept(function: Callable[[_Service], str]) -> Callable[[_Service], str]:
    """Decorate a method."""

    @wraps(function)
    def run(service: _Service) -> str:
        return function(service)

    return run


@contextmanager
def translated() -> Iterator[None]:
    """Turn errors of others into ours."""
    try:
        yield
    except OSError:
        raise Stale from None


class _Service:
    """One method for each way."""

    def __init__(self, store: _Store, find: Callable[[str], str]) -> None:
        self._store = store
        self._find = find

    def by_method(self) -> str:
        return self._store.find("x")

    def by_callback(self) -> str:
        return self._find("x")

    def by_property(self) -> str:
        return self._store.newest

    @kept
    def by_decorated(self) -> str:
        return self._store.find("x")

    def by_protocol(self) -> str:
        return _find_in(self._store)

    def by_comprehension(self) -> list[str]:
        return [found for id_ in "xy" if (found := self._store.find(id_))]

    def by_making(self) -> str:
        return _Opened(self._store).text

    def by_result(self) -> None:
        _looked_up().checked()

    def by_context(self) -> str:
        with translated():
            return "x"

    async def by_task(self) -> str:
        async def work() -> str:
            return self._store.find("x")

        return await asyncio.create_task(work())

    async def by_argument(self) -> str:
        work = partial(self._later, "x")
        return await self._store.change(work)

    async def _later(self, id_: str) -> str:
        return self._store.find(id_)

    def returned(self) -> _Found:
        return _Found(Lost("x"))

    def circular(self, depth: int) -> str:
        return self.circular(depth - 1) if depth else self._store.find("x")

    def caught(self) -> str:
        try:
            return self._store.find("x")
        except NotFound:
            return ""

    def caught_by_constant(self) -> str:
        try:
            raise Stale
        except PASSING:
            return ""

    def caught_where_named(self) -> str:
        find = partial(self._store.find, "x")
        try:
            return find()
        except Lost:
            return ""

    def suppressed(self) -> str:
        with suppress(Lost):
            return self._store.find("x")
        return ""

    def replaced(self) -> str:
        try:
            return self._store.find("x")
        except NotFound as error:
            raise Stale from error

    def caught_by_first(self) -> str:
        try:
            return self._store.find("x")
        except Lost:
            raise
        except NotFound:
            return ""

    def raised_again(self, allowed: bool) -> str:
        try:
            return self._store.find("x")
        except NotFound as error:
            if allowed:
                return ""
            raise error  # noqa: TRY201 - one of the ways

    def compared(self, error: ServiceError) -> bool:
        return isinstance(error, Lost)

    def of_a_kind(self) -> None:
        raise NotFound(None)

    def unrelated(self) -> None:
        try:
            raise EtagMismatch("1")
        except Lost:
            return


class _Opened:
    """Reads when it is made."""

    def __init__(self, store: _Store) -> None:
        self.text = store.find("x")


def _find_in(finds: Finds) -> str:
    return finds.find("x")


def _looked_up() -> _Found:
    return _Found(None)


CASES: Final[dict[str, set[str]]] = {
    "by_method": {"LOST"},
    "by_callback": {"LOST"},
    "by_property": {"LOST"},
    "by_decorated": {"LOST"},
    "by_protocol": {"LOST"},
    "by_comprehension": {"LOST"},
    "by_making": {"LOST"},
    "by_result": {"STALE"},
    "by_context": {"STALE"},
    "by_task": {"LOST"},
    "by_argument": {"LOST", "STALE"},
    "returned": {"LOST"},
    "circular": {"LOST"},
    "caught": set(),
    "caught_by_constant": set(),
    "caught_where_named": set(),
    "suppressed": set(),
    "replaced": {"STALE"},
    "caught_by_first": {"LOST"},
    "raised_again": {"LOST"},
    "compared": set(),
    "of_a_kind": set(),
    "unrelated": {"ETAG_MISMATCH"},
}


@pytest.mark.parametrize("name", CASES)
def test_each_way_of_raising_is_found(name: str) -> None:
    """An error that could leave a call is not overlooked, and one that cannot is not made up."""
    store = _Store()
    service = _Service(store, store.find)
    found = raised_by({name: [getattr(service, name)]}, [service])
    assert {error.reason for error in found.errors[name]} == CASES[name]
    assert found.missed == set()


def test_a_method_of_an_unknown_thing_is_told() -> None:
    """What could not be followed is known by name and place, and is not passed over."""
    store = _Store()
    unknown = lambda finds: finds.find("x")  # noqa: E731 - has no annotations
    found = raised_by({"unknown": [unknown], "known": [store.find]}, [store])
    assert found.errors["unknown"] == set()
    assert [item.name for item in found.missed] == ["find"]
