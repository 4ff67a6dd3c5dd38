"""The shape of a MongoDB command: its conditions with every value replaced, so that it can be shown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

# The parts of a command that are shown. Documents and updates are not, since their field names may be callers' own.
_PARTS: Final = ("filter", "q", "query", "pipeline", "sort", "hint", "deletes", "updates")
_SUBJECTS: Final = ("find", "aggregate", "findAndModify", "update", "delete", "insert", "count", "distinct", "getMore")
_LENGTH: Final = 300
# A deeper command than any of ours.
_DEPTH: Final = 12


def shape(command: Mapping[str, Any], kind: str) -> str:
    """Return name and conditions of a command; ``kind``: the name of a command that has none itself."""
    name = next((subject for subject in _SUBJECTS if subject in command), kind)
    parts = {part: _bare(command[part], _DEPTH) for part in _PARTS if part in command}
    # Names of indexes and directions are ours, so they are shown.
    parts |= {part: command[part] for part in ("sort", "hint") if part in command}
    text = f"{name} {json.dumps(parts, default=str, ensure_ascii=False)}" if parts else name
    return text if len(text) <= _LENGTH else f"{text[: _LENGTH - 2]} …"


def _bare(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping) and not _is_value(value):
        return {name: _bare(part, depth - 1) for name, part in value.items()} if depth else "…"
    if isinstance(value, list):
        # The items of a list of conditions have different shapes; those of a list of values do not.
        parts = [_bare(part, depth - 1) for part in value] if depth else []
        return ["…"] if all(part == "?" for part in parts) else _once(parts)
    return "?"


def _once(parts: list[Any]) -> list[Any]:
    return [part for number, part in enumerate(parts) if part not in parts[:number]]


def _is_value(value: Mapping[str, Any]) -> bool:
    # Extended JSON: {"$date": …}, {"$oid": …}; and literals.
    return len(value) == 1 and next(iter(value)) in {
        "$date", "$oid", "$numberLong", "$numberDouble", "$numberDecimal", "$binary", "$uuid", "$timestamp", "$literal",
        "$regularExpression", "$minKey", "$maxKey",
    }  # fmt: skip
