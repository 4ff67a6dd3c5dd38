"""The things that the walk knows: functions, objects and classes of ours; all else is foreign."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import BuiltinMethodType, FunctionType, MappingProxyType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, Final, TypeAlias

from tests.harness.sources import of_trees, tree_of

PACKAGES: Final = ("chassis", "users_service", "notifications_service", "tests")
# Not the whole tree, which may hold the packages of others, too.
_FOLDERS: Final = tuple(f"{Path(__file__).parents[3] / package}/" for package in PACKAGES)


class Opaque:
    """What the walk does not look into."""


# Of other packages, and of Python itself.
FOREIGN: Final = Opaque()
# Of a type that nothing tells.
UNKNOWN: Final = Opaque()


@dataclass(frozen=True)
class Instance:
    """An object of ours: a live one, or any of its class."""

    kind: type
    live: Any = field(default=None, compare=False)
    identity: int = 0

    @classmethod
    def of(cls, thing: object) -> Instance:
        """Return what stands for a live object."""
        return cls(type(thing), thing, id(thing))


@dataclass(frozen=True, eq=False)
class Scope:
    """Names and what they may be: those of a function, then of those around it, then of its module."""

    module: dict[str, Any]
    names: dict[str, Things] = field(default_factory=dict)
    above: Scope | None = None

    def find(self, name: str) -> Things:
        """Return what a name may be."""
        if name in self.names:
            return self.names[name]
        if self.above is not None:
            return self.above.find(name)
        return lift(self.module[name]) if name in self.module else frozenset({FOREIGN})


FunctionNode: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Function:
    """A function of ours with its surroundings; ``owner``: what its first argument is, of a method."""

    node: FunctionNode
    scope: Scope
    owner: Instance | type | None = None


Thing: TypeAlias = Function | Instance | type | ModuleType | Opaque
Things: TypeAlias = frozenset[Thing]
NOTHING: Final[Things] = frozenset()


def ours(thing: object) -> bool:
    """Say whether a class, a function or a module is of this project."""
    name = getattr(thing, "__module__", None) or getattr(thing, "__name__", "")
    return str(name).partition(".")[0] in PACKAGES


def lift(thing: Any) -> Things:
    """Return what stands for a live object; for a container, also what stands for each item."""
    match thing:
        case FunctionType():
            found = bound(thing, None)
        case MethodType():
            found = NOTHING.union(*(bound(thing.__func__, owner) for owner in lift(thing.__self__)))
        case partial() | list() | tuple() | set() | frozenset() | deque() | dict() | MappingProxyType():
            found = NOTHING.union(*map(lift, _items(thing)))
        case ModuleType() | type():
            found = frozenset({thing if ours(thing) else FOREIGN})
        case _:
            found = frozenset({Instance.of(thing) if ours(type(thing)) else FOREIGN})
    return found or frozenset({FOREIGN})


def _items(thing: Any) -> Iterable[Any]:
    if isinstance(thing, partial):
        return (thing.func, *thing.args, *thing.keywords.values())
    return (*thing.keys(), *thing.values()) if isinstance(thing, dict | MappingProxyType) else thing


def bound(function: Any, owner: Thing | None) -> Things:
    """Return a live function as a method of ``owner``, or what it wraps if it is a foreign one."""
    code = getattr(function, "__code__", None)
    if code is None or not code.co_filename.startswith(_FOLDERS):
        wrapped = getattr(function, "__wrapped__", None)
        return NOTHING if wrapped is None else bound(wrapped, owner)
    held = owner if isinstance(owner, Instance | type) else None
    nodes = _nodes(code.co_filename)[code.co_firstlineno, code.co_name]
    return frozenset(Function(node, _scope(function, held), held) for node in nodes)


@of_trees
def _nodes(file: str) -> dict[tuple[int, str], list[FunctionNode]]:
    """Return the functions of a file by first line and name; lambdas of one line share theirs."""
    found: dict[tuple[int, str], list[FunctionNode]] = {}
    for node in ast.walk(tree_of(Path(file))):
        if isinstance(node, ast.Lambda):
            found.setdefault((node.lineno, "<lambda>"), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            line = min(item.lineno for item in (node, *node.decorator_list))
            found.setdefault((line, node.name), []).append(node)
    return found


@of_trees
def _scope(function: FunctionType, owner: Instance | type | None) -> Scope:
    """Return what a live function sees; a wrapper calls what it wraps as a method of the same object."""
    wrapped = getattr(function, "__wrapped__", None)
    names = {
        name: bound(content, owner) if content is wrapped else lift(content)
        for name, content in _closure(function).items()
    }
    return Scope(function.__globals__, names)


def _closure(function: FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def objects(roots: Iterable[object]) -> Iterator[Any]:
    """Yield the live objects of ours that these hold, at any depth."""
    seen: dict[int, object] = {}
    waiting = list(roots)
    while waiting:
        thing = waiting.pop()
        if id(thing) not in seen:
            seen[id(thing)] = thing
            waiting += _held(thing)
            if ours(type(thing)):
                yield thing


def _held(thing: Any) -> Iterable[Any]:
    match thing:
        case FunctionType():
            return _closure(thing).values()
        case MethodType() | BuiltinMethodType():
            return (thing.__self__, getattr(thing, "__func__", None))
        case partial() | list() | tuple() | set() | frozenset() | deque() | dict() | MappingProxyType():
            return _items(thing)
        case type() | ModuleType():
            return ()
        case _:
            return attributes(thing).values() if ours(type(thing)) else ()


def attributes(thing: object) -> dict[str, Any]:
    """Return the attributes of one object, but not of its class."""
    slots = (name for kind in type(thing).__mro__ for name, item in vars(kind).items() if _is_slot(item))
    return {name: getattr(thing, name) for name in slots if hasattr(thing, name)} | getattr(thing, "__dict__", {})


def _is_slot(item: object) -> bool:
    return isinstance(item, MemberDescriptorType)
