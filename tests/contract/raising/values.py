"""Which things an expression may be: by the live objects, by annotations, and by what names were given.

A container, a coroutine or a future is taken for what is in it.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
from collections.abc import Iterable, Iterator
from functools import cache, cached_property
from types import FunctionType, MemberDescriptorType, ModuleType
from typing import Any, Final, TypeVar, get_args, get_origin

from tests.contract.raising.things import (
    FOREIGN,
    NOTHING,
    UNKNOWN,
    Function,
    Instance,
    Scope,
    Thing,
    Things,
    attributes,
    bound,
    lift,
    objects,
    ours,
)

_FOREIGN: Final[Things] = frozenset({FOREIGN})


class Values:
    """What expressions may be in the code that works on these live objects (``roots``, and all that they hold)."""

    def __init__(self, roots: Iterable[object]) -> None:
        self._live = [Instance.of(thing) for thing in objects(roots)]
        self._locals: dict[Function, Scope] = {}
        # Cached for each of these objects alone.
        self._instances = cache(self._find_instances)
        self._declared = cache(self._find_declared)

    def locals_of(self, function: Function) -> Scope:
        """Return the names of a function's body."""
        if function not in self._locals:
            scope = self._locals[function] = Scope(function.scope.module, self._parameters(function), function.scope)
            # Twice, since a loop may use above what it sets below.
            for node in (*body_of(function), *body_of(function)):
                self._bind(node, scope)
        return self._locals[function]

    def _parameters(self, function: Function) -> dict[str, Things]:
        given = function.node.args
        every = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
        names = {each.arg: self._annotated(each.annotation, function.scope) for each in every}
        if function.owner is not None and every:
            names[every[0].arg] = frozenset({function.owner})
        return names

    def _bind(self, node: ast.AST, scope: Scope) -> None:
        """Note what the names are that a node sets; a lambda has names of its own."""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            scope.names[node.name] = frozenset({Function(node, scope)})
        elif not isinstance(node, ast.Lambda):
            for target, values in self._set(node, scope):
                self._assign([target], values, scope)
            for child in ast.iter_child_nodes(node):
                self._bind(child, scope)

    def _set(self, node: ast.AST, scope: Scope) -> Iterator[tuple[ast.expr, Things]]:
        match node:
            case ast.Assign():
                yield from ((target, self.of(node.value, scope)) for target in node.targets)
            case ast.AnnAssign():
                value = NOTHING if node.value is None else self.of(node.value, scope)
                yield node.target, value | self._annotated(node.annotation, scope)
            case ast.NamedExpr() | ast.AugAssign():
                yield node.target, self.of(node.value, scope)
            case ast.For() | ast.AsyncFor() | ast.comprehension():
                yield node.target, self.of(node.iter, scope)
            case ast.withitem(optional_vars=ast.expr() as target):
                yield target, self.of(node.context_expr, scope)

    def _assign(self, targets: Iterable[ast.expr], values: Things, scope: Scope) -> None:
        for target in targets:
            match target:
                case ast.Name():
                    scope.names[target.id] = scope.names.get(target.id, NOTHING) | values
                case ast.Tuple() | ast.List():
                    self._assign(target.elts, values, scope)
                case ast.Starred():
                    self._assign([target.value], values, scope)

    def of(self, node: ast.AST, scope: Scope) -> Things:
        """Return what an expression may be."""
        match node:
            case ast.Name():
                return scope.find(node.id)
            case ast.Attribute():
                return NOTHING.union(*(self.attribute(base, node.attr) for base in self.of(node.value, scope)))
            case ast.Call():
                return self._called(node, scope)
            case ast.Lambda():
                return frozenset({Function(node, scope)})
            case ast.Constant() | ast.JoinedStr() | ast.Compare() | ast.UnaryOp():
                return _FOREIGN
        return _FOREIGN.union(*(self.of(child, scope) for child in ast.iter_child_nodes(node)))

    def _called(self, node: ast.Call, scope: Scope) -> Things:
        if isinstance(node.func, ast.Name) and node.func.id == "super":
            return frozenset(_above(item) for item in scope.find("self") if isinstance(item, Instance))
        return NOTHING.union(*(self._result(item, node, scope) for item in self.of(node.func, scope)))

    def _result(self, called: Thing, node: ast.Call, scope: Scope) -> Things:
        if isinstance(called, type):
            return frozenset({Instance(called)})
        if isinstance(called, Instance):
            called = next((item for item in self.attribute(called, "__call__") if isinstance(item, Function)), called)
        if isinstance(called, Function):
            returned = self._returned(called)
            return returned if UNKNOWN not in returned else returned | self._given(node, scope)
        # Foreign functions return, as far as is known here, what they get, and methods of containers what is in them.
        base = self.of(node.func.value, scope) if isinstance(node.func, ast.Attribute) else NOTHING
        return frozenset({FOREIGN}) | base | self._given(node, scope)

    def _returned(self, function: Function) -> Things:
        return (
            _FOREIGN
            if isinstance(function.node, ast.Lambda)
            else self._annotated(function.node.returns, function.scope)
        )

    def _given(self, node: ast.Call, scope: Scope) -> Things:
        return NOTHING.union(*(self.of(item, scope) for item in (*node.args, *(each.value for each in node.keywords))))

    def attribute(self, base: Thing, name: str) -> Things:
        """Return what an attribute may be."""
        match base:
            case ModuleType():
                return lift(getattr(base, name, None))
            case Instance():
                own = {} if base.live is None else attributes(base.live)
                if name in own:
                    return lift(own[name])
                found = inspect.getattr_static(base.kind, name, None)
                if found is None or isinstance(found, MemberDescriptorType):
                    return self._declared(base.kind, name)
                return self._of_class(found, base)
            case type():
                return self._of_class(inspect.getattr_static(base, name, None), base)
            case _:
                return frozenset({base})

    def _of_class(self, found: Any, base: Instance | type) -> Things:
        match found:
            case property() | cached_property():
                return NOTHING.union(*map(self._returned, read_by(found, base)))
            case classmethod():
                return bound(found.__func__, base if isinstance(base, type) else base.kind)
            case FunctionType():
                return bound(found, base if isinstance(base, Instance) else None) or _FOREIGN
            case staticmethod():
                return lift(found.__func__)
        return lift(found)

    def _find_declared(self, kind: type, name: str) -> Things:
        """Return what an attribute of an object of a class is, by the class or by what sets it when it is made."""
        for each in filter(ours, kind.__mro__):
            if (text := inspect.get_annotations(each).get(name)) is not None:
                return self._annotated(
                    ast.parse(str(text), mode="eval").body, Scope(vars(sys.modules[each.__module__]))
                )
            for made in _functions(bound(vars(each).get("__init__"), Instance(kind))):
                if found := self._set_by(made, name):
                    return found
        return _FOREIGN

    def _set_by(self, made: Function, name: str) -> Things:
        scope, found = self.locals_of(made), NOTHING
        for node in ast.walk(made.node):
            if isinstance(node, ast.Assign) and any(_sets(target, name) for target in node.targets):
                found |= self.of(node.value, scope)
            elif isinstance(node, ast.AnnAssign) and _sets(node.target, name):
                found |= self._annotated(node.annotation, scope)
        return found

    def _annotated(self, node: ast.AST | None, scope: Scope) -> Things:
        """Return what has such a type: for each class that the annotation names, its objects."""
        match node:
            case None:
                return frozenset({UNKNOWN})
            case ast.Constant(value=str() as text):
                return self._annotated(ast.parse(text, mode="eval").body, scope)
            case ast.Name():
                return self._typed(scope.module.get(node.id, getattr(builtins, node.id, None)))
            case ast.Attribute(value=ast.Name() as module):
                return self._typed(getattr(scope.module.get(module.id), node.attr, None))
            case ast.List():
                # The arguments of a callable.
                return NOTHING
        return NOTHING.union(*(self._annotated(child, scope) for child in ast.iter_child_nodes(node))) or _FOREIGN

    def _typed(self, named: Any) -> Things:
        if named is Any:
            return frozenset({UNKNOWN})
        if isinstance(named, TypeVar):
            return frozenset({UNKNOWN}) if named.__bound__ is None else self._typed(named.__bound__)
        if (origin := get_origin(named)) is not None:
            return self._typed(origin).union(*map(self._typed, get_args(named)))
        return self._instances(named) if isinstance(named, type) and ours(named) else _FOREIGN

    def _find_instances(self, kind: type) -> Things:
        """Return the live objects of a class, or where there are none what stands for any."""
        found = frozenset(item for item in self._live if _is_a(item.kind, kind))
        return found or frozenset({Instance(kind)})


def _is_a(kind: type, wanted: type) -> bool:
    if not getattr(wanted, "_is_protocol", False):
        return issubclass(kind, wanted)
    methods = [name for name, item in vars(wanted).items() if isinstance(item, FunctionType) and ours(item)]
    return all(hasattr(kind, name) for name in methods if name != "__init__")


def _above(item: Instance) -> Instance:
    return Instance(item.kind.__mro__[1], item.live, item.identity)


def _sets(target: ast.expr, name: str) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr == name for node in ast.walk(target))


def _functions(things: Things) -> Iterator[Function]:
    return (item for item in things if isinstance(item, Function))


def read_by(found: object, owner: Instance | type) -> Iterator[Function]:
    """Yield the function behind a property."""
    match found:
        case property():
            return _functions(bound(found.fget, owner))
        case cached_property():
            return _functions(bound(found.func, owner))
    return iter(())


def body_of(function: Function) -> list[ast.stmt] | list[ast.expr]:
    """Return what a function does, without its signature and decorators."""
    return [function.node.body] if isinstance(function.node, ast.Lambda) else function.node.body
