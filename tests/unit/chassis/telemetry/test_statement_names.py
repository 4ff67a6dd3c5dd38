"""Every statement has a name: logs, traces and ``explain`` have nothing else to call it by."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from chassis.context import statements
from chassis.context.statements import name_of, named
from tests.harness.statement_names import public_coroutines, repositories

REPOSITORIES = [module for service in ("users_service", "notifications_service") for module in repositories(service)]


def test_every_function_of_a_repository_has_a_name() -> None:
    """A statement without a name would be "unnamed" where somebody on call looks for it."""
    functions = [function for module in REPOSITORIES for function in public_coroutines(module)]
    assert len(REPOSITORIES) >= 8
    assert len(functions) >= 50
    for function in functions:
        assert name_of(function).endswith(f".{function.__name__}")


def test_no_two_statements_share_a_name() -> None:
    """A name leads to one function."""
    for service in ("users_service", "notifications_service"):
        modules = [module for module in REPOSITORIES if module.__name__.startswith(service)]
        names = Counter(name_of(function) for module in modules for function in public_coroutines(module))
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
