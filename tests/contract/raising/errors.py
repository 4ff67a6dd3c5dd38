"""Which errors a function ends with: those that its body names, and those of all functions that it uses."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import NamedTuple, TypeAlias

from chassis.errors import ServiceError
from tests.contract.raising.things import UNKNOWN, Function, Instance, Scope, Things, lift
from tests.contract.raising.values import Values, body_of, read_by

Error: TypeAlias = type[ServiceError]
Kinds: TypeAlias = tuple[type, ...]
# What stands around a part of a body: the handlers of each ``try``, in their order, and whether they pass errors on.
Handlers: TypeAlias = tuple[tuple[Kinds, bool], ...]
_ENTERING = ("__enter__", "__exit__", "__aenter__", "__aexit__")


class Use(NamedTuple):
    """A function or an error that a body names, and the handlers around the place."""

    thing: Function | Error
    around: tuple[Handlers, ...] = ()

    def leaves(self, error: Error) -> bool:
        """Say whether an error that is raised here leaves the body."""
        return all(_passes(handlers, error) for handlers in self.around)


class Missed(NamedTuple):
    """A method of something whose type nothing tells: whether it raises is not known."""

    name: str
    module: str
    line: int


class Raised(NamedTuple):
    """The errors of each call, and what could not be followed."""

    errors: dict[str, frozenset[Error]]
    missed: set[Missed]


def raised_by(calls: Mapping[str, Iterable[object]], roots: Iterable[object]) -> Raised:
    """Return the errors of calls, by their names; ``calls``: the live functions that each consists of.

    ``roots``: hold all live objects that the calls work on.
    """
    values, missed = Values(roots), set[Missed]()
    begun = {
        name: [Use(item) for each in parts for item in _usable(lift(each), values)] for name, parts in calls.items()
    }
    uses = _followed(chain.from_iterable(begun.values()), values, missed)
    raised = _settled(uses)
    names = {getattr(function.node, "name", "") for function, errors in raised.items() if errors}
    errors = {name: _ended_with(parts, raised) for name, parts in begun.items()}
    return Raised(errors, {item for item in missed if item.name in names})


def _followed(begun: Iterable[Use], values: Values, missed: set[Missed]) -> dict[Function, frozenset[Use]]:
    """Return what each function uses that is used by these, at any depth."""
    found: dict[Function, frozenset[Use]] = {}
    waiting = [use.thing for use in begun]
    while waiting:
        thing = waiting.pop()
        if isinstance(thing, Function) and thing not in found:
            body = _Body(values, values.locals_of(thing), missed)
            found[thing] = frozenset(body.uses(body_of(thing)))
            waiting += [use.thing for use in found[thing]]
    return found


def _settled(uses: dict[Function, frozenset[Use]]) -> dict[Function, frozenset[Error]]:
    """Return what each function raises; functions may use each other in circles."""
    raised: dict[Function, frozenset[Error]] = dict.fromkeys(uses, frozenset())
    before = None
    while raised != before:
        before = dict(raised)
        # Those that were found last are used by the others.
        for function in reversed(uses):
            raised[function] = _ended_with(uses[function], raised)
    return raised


def _ended_with(uses: Iterable[Use], raised: dict[Function, frozenset[Error]]) -> frozenset[Error]:
    return frozenset(
        error
        for use in uses
        for error in (raised[use.thing] if isinstance(use.thing, Function) else (use.thing,))
        if use.leaves(error)
    )


def _passes(handlers: Handlers, error: Error) -> bool:
    return next((passed for kinds, passed in handlers if issubclass(error, kinds)), True)


class _Body:
    """Looks through the body of one function."""

    def __init__(self, values: Values, scope: Scope, missed: set[Missed]) -> None:
        self._values = values
        self._scope = scope
        self._missed = missed

    def uses(self, nodes: Iterable[ast.AST | None], around: tuple[Handlers, ...] = ()) -> Iterator[Use]:
        """Yield what these nodes use, inside of the handlers ``around`` them."""
        for node in nodes:
            match node:
                case None | ast.FunctionDef() | ast.AsyncFunctionDef():
                    # A function within is used where its name is.
                    pass
                case ast.Try():
                    handlers = tuple((self._kinds(each.type), _passes_on(each)) for each in node.handlers)
                    yield from self.uses(node.body, (*around, handlers))
                    yield from self.uses([*_bodies(node.handlers), *node.orelse, *node.finalbody], around)
                case ast.With() if ended := self._suppressed(node):
                    yield from self.uses(node.body, (*around, ((ended, False),)))
                case _:
                    yield from (Use(thing, around) for thing in self._named(node))
                    yield from self.uses(_parts(node), around)

    def _suppressed(self, node: ast.With) -> Kinds:
        calls = (item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call))
        named = [kind for call in calls if ast.unparse(call.func) == "suppress" for kind in call.args]
        return tuple(kind for item in named for kind in self._kinds(item))

    def _kinds(self, node: ast.expr | None) -> Kinds:
        if node is None or (isinstance(node, ast.Name) and hasattr(builtins, node.id)):
            kind = BaseException if node is None else getattr(builtins, node.id)
            return (kind,)
        return tuple(item for item in self._values.of(node, self._scope) if isinstance(item, type))

    def _named(self, node: ast.AST) -> Iterator[Function | Error]:
        match node:
            case ast.Name(ctx=ast.Load()) | ast.Attribute(ctx=ast.Load()) | ast.Lambda():
                yield from _usable(self._values.of(node, self._scope), self._values)
            case ast.withitem():
                for item in self._values.of(node.context_expr, self._scope):
                    if isinstance(item, Instance):
                        yield from _methods(item, _ENTERING, self._values)
        if isinstance(node, ast.Attribute):
            yield from self._read(node)

    def _read(self, node: ast.Attribute) -> Iterator[Function]:
        """Yield the properties that reading an attribute may run."""
        bases = self._values.of(node.value, self._scope)
        if bases == {UNKNOWN}:
            self._missed.add(Missed(node.attr, self._scope.module["__name__"], node.lineno))
        for base in bases:
            if isinstance(base, Instance):
                yield from read_by(inspect.getattr_static(base.kind, node.attr, None), base)


def _usable(things: Things, values: Values) -> Iterator[Function | Error]:
    for thing in things:
        match thing:
            case Function():
                yield thing
            case Instance(live=ServiceError()):
                yield from _error(thing.kind)
            case Instance():
                yield from _methods(thing, ("__call__",), values)
            case type() if issubclass(thing, ServiceError):
                yield from _error(thing)
            case type():
                yield from _methods(Instance(thing), ("__init__", "__post_init__"), values)


def _error(kind: type) -> Iterator[Error]:
    # Those without a reason are kinds of errors.
    if issubclass(kind, ServiceError) and hasattr(kind, "reason"):
        yield kind


def _methods(thing: Instance, names: Iterable[str], values: Values) -> Iterator[Function]:
    for name in names:
        yield from (item for item in values.attribute(thing, name) if isinstance(item, Function))


def _parts(node: ast.AST) -> Iterable[ast.AST | None]:
    """Return the parts of a node that are carried out: no types, no comparisons with types."""
    match node:
        case ast.Raise():
            return [node.exc]
        case ast.AnnAssign():
            return [node.value]
        case ast.Call(func=ast.Name(id="isinstance")):
            return [node.args[0]]
        case ast.Assign(targets=[ast.Name()], value=ast.Call(func=ast.Name(id="partial"))):
            # What a name was given for is used where the name is.
            return []
    return ast.iter_child_nodes(node)


def _bodies(handlers: Iterable[ast.ExceptHandler]) -> Iterator[ast.stmt]:
    for handler in handlers:
        yield from handler.body


def _passes_on(handler: ast.ExceptHandler) -> bool:
    """Say whether an error may leave a handler: raised again, or handed to others as a whole."""
    looked_at: set[ast.AST | None] = set()
    for node in ast.walk(handler):
        match node:
            case ast.Raise(exc=None):
                return True
            case ast.Raise():
                looked_at.add(node.cause)
            case ast.Attribute():
                looked_at.add(node.value)
            case ast.Call(func=ast.Name(id="type" | "str" | "isinstance")):
                looked_at.update(node.args)
    names = (node for node in ast.walk(handler) if isinstance(node, ast.Name) and node not in looked_at)
    return any(node.id == handler.name for node in names)
