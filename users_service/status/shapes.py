"""The shape of a SQL statement: its text with every value replaced, so that it can be shown."""

from __future__ import annotations

import re
from typing import Final

_TOKENS: Final = re.compile(
    r"""
    (?P<name>`[^`]*(?:`|$))
    | (?P<text>(?:\b[xXbBnN])?(?:'(?:[^'\\]|\\.|'')*(?:'|$)|"(?:[^"\\]|\\.|"")*(?:"|$)))
    | (?P<comment>/\*.*?(?:\*/|$)|(?:--|\#)[^\n]*)
    | (?P<number>\b0x[0-9a-fA-F]+\b|(?<![\w.])\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?)
    """,
    re.DOTALL | re.VERBOSE,
)
_LIST: Final = re.compile(r"\(\s*\?(?:\s*,\s*\?)+\s*\)")
_ROWS: Final = re.compile(r"(\(\?[^()]*\))(?:\s*,\s*\(\?[^()]*\))+")
_CUT: Final = " …"
LENGTH: Final = 300


def shape(statement: str) -> str:
    """Return the statement with ``?`` for each value, ``(?…)`` for lists, without comments, cut to 300 characters."""
    parts, end = [], 0
    for found in _TOKENS.finditer(statement):
        parts.append(statement[end : found.start()])
        end = found.end()
        parts.append(found[0] if found["name"] else "" if found["comment"] else "?")
        if found["text"] and "\\" in found["text"]:
            # Where such a text ends depends on the SQL mode of the session, so the rest may be a value.
            return _tidy([*parts, _CUT])
    return _tidy([*parts, statement[end:]])


def _tidy(parts: list[str]) -> str:
    text = " ".join("".join(parts).split())
    text = _ROWS.sub(r"\1…", _LIST.sub("(?…)", text))
    return text if len(text) <= LENGTH else text[: LENGTH - len(_CUT)] + _CUT
