"""The shape of a statement's parameters: types and sizes, which say why it is slow and nothing of anybody's data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

# Parameters whose shapes are told; of further ones only the number.
_MOST: Final = 16


def of(parameters: Any) -> list[str]:
    """Return the shapes of the parameters of an SQL statement, in their order; those alike in a row as one."""
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

    Names further in may be callers' own (keys of a notification's data), so of documents only sizes are told.
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
