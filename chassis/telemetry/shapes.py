"""Shapes of a statement's parameters: types and sizes, which help to explain why it is slow and reveal no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# Parameters whose shapes are given; of further ones only the number is.
_MOST: Final = 16


def of(parameters: Any) -> list[str]:
    """Return the shapes of an SQL statement's parameters, in order; a run of equal shapes is merged into one."""
    values = list(parameters.values() if isinstance(parameters, Mapping) else parameters or ())
    runs: list[tuple[str, int]] = []
    for shape in map(_shape, values):
        if runs and runs[-1][0] == shape:
            runs[-1] = (shape, runs[-1][1] + 1)
        else:
            runs.append((shape, 1))
    told = [shape if number == 1 else f"{shape} x{number}" for shape, number in runs[:_MOST]]
    return [*told, f"{len(runs) - _MOST} more"] if len(runs) > _MOST else told


def of_command(command: Mapping[str, Any]) -> dict[str, str]:
    """Return the shapes of a MongoDB command's fields, by their names.

    Only sizes are given of nested documents: their keys may be callers' own, such as those of a notification's data.
    """
    return {name: _shape(value) for name, value in command.items()}


def _shape(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, str | bytes):
        return f"{kind}[{len(value)}]"
    if isinstance(value, Mapping):
        longest = _longest_list(value)
        return f"document[{len(value)}]" + (f" with list[{longest}]" if longest else "")
    if isinstance(value, Sequence):
        return f"list[{len(value)}]"
    return kind


def _longest_list(value: Any) -> int:
    if isinstance(value, Mapping):
        return max(map(_longest_list, value.values()), default=0)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return max(len(value), *map(_longest_list, value), 0)
    return 0
