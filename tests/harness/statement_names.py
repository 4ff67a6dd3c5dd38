"""The names of all database statements of a service, found in its code and not in any list."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

# Names that stand in the code as such, where a statement's function is not known before it runs.
_WRITTEN = re.compile(r"(?:PointRead\(\w+, |\bnaming\(|\b_ask\()\"([a-z_]+\.[a-z_]+)\"")


def statement_names(package: str) -> set[str]:
    """Return the names that ``chassis.context.statements`` gives in a package."""
    return {*_of_functions(package), *_written(package)}


def repositories(package: str) -> list[ModuleType]:
    """Return every ``repository`` module of a package."""
    return list(_modules(package, ".repository"))


def public_coroutines(module: ModuleType) -> Iterator[Callable[..., Any]]:
    """Yield the public coroutine functions of a module, and those of its classes: in a repository, its statements."""
    holders = [module, *(item for _, item in inspect.getmembers(module, inspect.isclass))]
    for holder in holders:
        for name, item in inspect.getmembers(holder, inspect.iscoroutinefunction):
            if item.__module__ == module.__name__ and not name.startswith("_"):
                yield item


def _modules(package: str, ending: str = "") -> Iterator[ModuleType]:
    root = importlib.import_module(package)
    for found in pkgutil.walk_packages(root.__path__, f"{package}."):
        if found.name.endswith(ending) and not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def _of_functions(package: str) -> Iterator[str]:
    for module in _modules(package):
        for member in _members(module):
            # Some objects of SQLAlchemy's have every attribute.
            if isinstance(name := getattr(member, "statement_name", None), str):
                yield name


def _members(module: Any) -> Iterator[Any]:
    for member in vars(module).values():
        yield member
        if inspect.isclass(member):
            yield from vars(member).values()


def _written(package: str) -> Iterator[str]:
    (folder,) = importlib.import_module(package).__path__
    for path in Path(folder).rglob("*.py"):
        yield from _WRITTEN.findall(path.read_text())
