"""Every statement has a name: logs, traces and ``explain`` have nothing else to call it by."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from collections import Counter
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import notifications_service
import users_service
from chassis.context import statements
from chassis.context.statements import name_of, named

# Modules beside the repositories whose public functions are statements.
OTHERS = ("users_service.accounts.legacy", "users_service.users.deletion", "users_service.mysql.locks")


def repositories() -> list[ModuleType]:
    """Return every ``repository`` module of both services, and the others."""
    found = [
        importlib.import_module(module.name)
        for package in (users_service, notifications_service)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        if module.name.endswith(".repository")
    ]
    return found + [importlib.import_module(name) for name in OTHERS]


def coroutines(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Yield the public coroutine functions and methods of a module."""
    holders = [module, *(item for _, item in inspect.getmembers(module, inspect.isclass))]
    for holder in holders:
        for name, item in inspect.getmembers(holder, inspect.iscoroutinefunction):
            if item.__module__ == module.__name__ and not name.startswith("_"):
                yield item


def test_every_function_of_a_repository_has_a_name() -> None:
    """A statement without a name would be "unnamed" where somebody on call looks for it."""
    modules = repositories()
    functions = [function for module in modules for function in coroutines(module)]
    assert len(modules) >= 10
    assert len(functions) >= 50
    for function in functions:
        assert name_of(function).endswith(f".{function.__name__}")


def test_no_two_statements_share_a_name() -> None:
    """A name leads to one function."""
    for service in ("users_service", "notifications_service"):
        modules = [module for module in repositories() if module.__name__.startswith(service)]
        names = Counter(name_of(function) for module in modules for function in coroutines(module))
        assert names.most_common(1)[0][1] == 1


def test_a_function_without_a_name_is_told() -> None:
    """Asking for the name of what has none is a mistake of the code."""

    async def plain() -> None:
        """Do nothing."""

    with pytest.raises(LookupError):
        name_of(plain)


async def test_the_innermost_name_counts_and_ends_with_its_function() -> None:
    """Nested and concurrent functions each see their own name, and nothing of it stays, after errors neither."""

    @named
    async def inner(fail: bool) -> str:
        await asyncio.sleep(0)
        if fail:
            raise ValueError
        return statements.current()

    @named
    async def outer() -> tuple[str, str]:
        with pytest.raises(ValueError):  # noqa: PT011 - raised three lines above
            await inner(fail=True)
        return await inner(fail=False), statements.current()

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(outer()) for _ in range(3)]
    inside, outside = name_of(inner), name_of(outer)
    assert [task.result() for task in running] == [(inside, outside)] * 3
    assert statements.current() == statements.UNNAMED
