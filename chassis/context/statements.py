"""Names of database statements, by which logs, traces and ``explain`` refer to them instead of by their text.

A name consists of the folder and the function that carries the statement out: ``users.list_users``, ``feed.page``. It
is in a context variable while the function runs, where the drivers' hooks read it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Function = Callable[P, Coroutine[Any, Any, T]]

# Statements of the driver itself, of migrations and of people.
UNNAMED: Final = "unnamed"

_current: Final[ContextVar[str]] = ContextVar("statement", default=UNNAMED)

current: Final = _current.get


def named(function: Function[P, T]) -> Function[P, T]:
    """Name the statements that a coroutine function sends after it; of nested functions the innermost counts."""
    name = _derived(function)
    enter, leave = _current.set, _current.reset

    @wraps(function)
    async def run(*arguments: P.args, **options: P.kwargs) -> T:
        token = enter(name)
        try:
            return await function(*arguments, **options)
        finally:
            leave(token)

    run.statement_name = name  # type: ignore[attr-defined]
    return run


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the statements that are sent inside the block."""
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def name_of(function: Callable[..., Any]) -> str:
    """Return the name that ``named`` gave to a function. Raises LookupError where it gave none."""
    name: str | None = getattr(function, "statement_name", None)
    if name is None:
        raise LookupError(f"{function} has no name")
    return name


def _derived(function: Callable[..., Any]) -> str:
    """Derive the name: ``service.feed.repository`` and ``FeedRepository.page`` make ``feed.page``."""
    place = function.__module__.split(".")[1:]
    return f"{place[0]}.{function.__name__.strip('_')}"
