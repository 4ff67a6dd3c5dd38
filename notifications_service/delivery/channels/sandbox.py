"""Jinja templates in a sandbox that bounds what one rendering may do: its steps, its processor time, its output.

A template sees what it is given, and calls nothing that could reach the server or grow without end.
"""

from __future__ import annotations

import re
import time
import traceback
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import DictLoader, StrictUndefined, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS as ALL_FILTERS
from jinja2.runtime import Context, markup_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup, escape

MOST_STEPS: Final = 10_000
MOST_CHARACTERS: Final = 256 * 1024
MOST_SECONDS: Final = 0.5
# Those that make no more of a text than a few times what they are given.
FILTERS: Final = (
    "abs", "capitalize", "d", "default", "dictsort", "e", "escape", "first", "float", "forceescape", "int", "items",
    "last", "length", "list", "lower", "max", "min", "reverse", "round", "select", "selectattr", "reject", "rejectattr",
    "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique", "upper", "urlencode",
    "wordcount", "wordwrap",
)  # fmt: skip
_blank_lines = re.compile(r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)\s*").split


class TemplateFailed(Exception):
    """A template could not be rendered. The text names template and fault in one line, and no value."""


@dataclass(slots=True)
class _Budget:
    ends_at: float
    steps: int = MOST_STEPS
    characters: int = MOST_CHARACTERS


# That of the rendering at hand; none while templates are compiled.
_budget: ContextVar[_Budget | None] = ContextVar("budget of a rendering", default=None)


@dataclass(frozen=True, slots=True)
class Rendering:
    """The output of a template, and the values that it set at its top."""

    text: str
    values: Mapping[str, Any]


class Sandbox:
    """Templates by name, compiled when first rendered; those whose names end in `.html` escape what they print."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._environment = _Environment(
            loader=DictLoader(sources),
            autoescape=lambda name: (name or "").endswith(".html"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_counted,
            auto_reload=False,
            cache_size=-1,
        )

    def check(self, name: str) -> None:
        """Compile a template. Raises TemplateFailed where it is none."""
        try:
            self._environment.get_template(name)
        except TemplateError as error:
            raise _failed(name, error) from None

    def render(self, name: str, variables: Mapping[str, Any]) -> Rendering:
        """Render a template within its budget, on the caller's thread. Raises TemplateFailed."""
        token = _budget.set(_Budget(time.thread_time() + MOST_SECONDS))
        try:
            template = self._environment.get_template(name)
            context = template.new_context(dict(variables))
            text = "".join(_bounded(template.root_render_func(context)))
            return Rendering(text, context.get_exported())
        except Exception as error:  # noqa: BLE001 - a template may do anything, and told is the kind of what it did
            raise _failed(name, error) from None
        finally:
            _budget.reset(token)


class _Environment(ImmutableSandboxedEnvironment):
    # `+` alone puts together no more than is there; loops around it take steps.
    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: ALL_FILTERS[name] for name in FILTERS}
        self.filters |= {"join": _joined, "paragraphs": _paragraphs, "linebreaks": _linebreaks}
        self.globals = {"range": self.globals["range"], "namespace": self.globals["namespace"]}

    def step(self) -> None:
        """Take one step of the rendering's budget."""
        _spend(0)

    def put_together(self, *values: Any) -> str:
        """Do what `~` does, within the budget."""
        _spend(sum(len(str(value)) for value in values))
        return markup_join(values)

    def call(self, context: Context, called: Any, /, *arguments: Any, **keywords: Any) -> Any:
        _spend(0)
        return super().call(context, called, *arguments, **keywords)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        if operator == "**" or not (isinstance(left, int | float) and isinstance(right, int | float)):
            raise SecurityError(f"{operator} is for numbers alone")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        # `ljust`, `format` and the like make texts of any length.
        return not isinstance(obj, str | bytes) and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> None:
        """Leave `format` to ``is_safe_attribute``, which refuses it: it pads to any length."""

    def _generate(
        self, source: nodes.Template, name: str | None, filename: str | None, defer_init: bool = False
    ) -> str:
        for loop in source.find_all(nodes.For):
            step = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
            loop.body.insert(0, nodes.ExprStmt(step).set_lineno(loop.lineno, override=True))
        _replace_concatenations(source)
        return super()._generate(source, name, filename, defer_init)


def _replace_concatenations(node: nodes.Node) -> None:
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Concat):
            setattr(node, name, _call_in_place_of(value))
        elif isinstance(value, list):
            value[:] = [_call_in_place_of(each) if isinstance(each, nodes.Concat) else each for each in value]
    for child in node.iter_child_nodes():
        _replace_concatenations(child)


def _call_in_place_of(concatenation: nodes.Concat) -> nodes.Call:
    function = nodes.EnvironmentAttribute("put_together")
    call = nodes.Call(function, concatenation.nodes, [], None, None)
    call.set_lineno(concatenation.lineno, override=True)
    call.environment = concatenation.environment
    return call


def _spend(characters: int) -> None:
    """Take one step, and so many characters, off the budget. Raises SecurityError where that is more than is left."""
    budget = _budget.get()
    if budget is None:
        return
    budget.steps -= 1
    budget.characters -= characters
    if budget.steps < 0:
        raise SecurityError(f"more than {MOST_STEPS} steps")
    if budget.characters < 0:
        raise SecurityError(f"more than {MOST_CHARACTERS} characters")
    if time.thread_time() > budget.ends_at:
        raise SecurityError(f"more than {MOST_SECONDS} s of processor time")


def _counted(value: Any) -> Any:
    _spend(len(value) if isinstance(value, str) else len(str(value)))
    return value


def _bounded(chunks: Iterable[str]) -> Iterable[str]:
    left = MOST_CHARACTERS
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            raise SecurityError(f"more than {MOST_CHARACTERS} characters")
        yield chunk


def _joined(items: Iterable[Any], between: str = "") -> str:
    listed = [*items]
    _spend(sum(len(str(item)) + len(between) for item in listed))
    return str(between).join(map(str, listed))


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a text, which blank lines part."""
    return [paragraph.strip() for paragraph in _blank_lines(text) if paragraph.strip()]


def _linebreaks(text: str) -> Markup:
    """Return a text for HTML, escaped, with its line ends kept."""
    return Markup("<br>\n").join(escape(line) for line in text.splitlines())


def _failed(name: str, error: Exception) -> TemplateFailed:
    # Errors of Jinja quote the template; those of others may quote a value.
    said = (error.message or "") if isinstance(error, TemplateError) else ""
    return TemplateFailed(f"{_place(name, error)}: {type(error).__name__} {' '.join(said.split())}".rstrip()[:300])


def _place(name: str, error: Exception) -> str:
    """Return the template and the line where an error arose, as far as that is known."""
    line = getattr(error, "lineno", None)
    for frame, number in traceback.walk_tb(error.__traceback__):
        template = frame.f_globals.get("__jinja_template__")
        if template is not None and template.name:
            name, line = template.name, template.get_corresponding_lineno(number)
    return f"{name}, line {line}" if line else name
