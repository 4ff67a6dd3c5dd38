"""Tracebacks for the log, without the data that drivers put into the texts of exceptions.

Database drivers quote SQL, parameters and values of rows in the text of an exception. Only its place, its class and a
numeric error code are safe to log, except for classes whose text describes only the code.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

_TEXT_IS_ABOUT_CODE: Final = (
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    NotImplementedError,
    RecursionError,
)
_MAX_FRAMES: Final = 30
_MAX_CAUSES: Final = 8


def describe(error: BaseException) -> list[str]:
    """Return the chain of an exception, newest first: class, numeric code, and the frames that it passed."""
    lines: list[str] = []
    link: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if link is None:
            break
        lines.append(summary(link))
        lines.extend(_frames(link.__traceback__))
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return lines


def summary(error: BaseException) -> str:
    """Return the class of an exception with what is safe of its arguments."""
    kind = type(error)
    name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
    if isinstance(error, _TEXT_IS_ABOUT_CODE):
        return f"{name}: {error}"
    if error.args and type(error.args[0]) is int:
        return f"{name}({error.args[0]})"
    return name


def _frames(trace: TracebackType | None) -> list[str]:
    # Not extract_tb, which reads the source of every frame.
    frames = traceback.StackSummary.extract(traceback.walk_tb(trace), lookup_lines=False)[-_MAX_FRAMES:]
    return [f"  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames]
