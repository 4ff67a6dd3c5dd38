"""The active span of the current work, in whatever library traces it; None where nothing is traced.

Work that is done for several calls at once (``chassis.batching.coalesce``) belongs to the span of one of them, and
links to the spans of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import Context, ContextVar
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, eq=False)
class ActiveSpan:
    """The span ``parent`` of spans that begin now, and further spans that they link to; ``sampled``: they are kept."""

    parent: Any
    sampled: bool
    links: tuple[Any, ...] = ()


_current: Final[ContextVar[ActiveSpan | None]] = ContextVar("trace", default=None)

current: Final = _current.get
enter: Final = _current.set


def shared(callers: Sequence[ActiveSpan]) -> Context:
    """Return an otherwise empty context for work that is done for several callers at once.

    It belongs to the first of them whose trace is kept.
    """
    chosen = next((caller for caller in callers if caller.sampled), callers[0])
    links = tuple(caller.parent for caller in callers if caller is not chosen and caller.sampled)
    context = Context()
    context.run(_current.set, ActiveSpan(chosen.parent, chosen.sampled, links))
    return context
