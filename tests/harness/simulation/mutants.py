"""Mutants: the real code with one of its guards removed, which a simulation has to notice."""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Mutant:
    """A function of a class or module in whose source ``old`` is replaced by ``new``; ``breaks``: which property."""

    breaks: str
    owner: Any
    name: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.name}: {self.old.strip()[:40]}"

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the mutant in the place of the function. Fails where the function no longer says ``old`` exactly once."""
        original = inspect.getattr_static(self.owner, self.name)
        function: Any = original.fget if isinstance(original, property) else inspect.unwrap(original)
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self} is there {source.count(self.old)} times: the mutant needs mending"
        changed = "from __future__ import annotations\n" + source.replace(self.old, self.new)
        made: dict[str, Any] = {}
        # The module's own names, so that what is replaced there counts for the mutant, too.
        exec(compile(changed, f"<mutant {self}>", "exec"), vars(sys.modules[function.__module__]), made)  # noqa: S102
        setattr(self.owner, self.name, made[self.name])
        try:
            yield
        finally:
            setattr(self.owner, self.name, original)
