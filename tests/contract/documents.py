"""The documents of this repository, and what they quote in backquotes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PACKAGES: Final = ("chassis", "users_service", "notifications_service")
# The changelog speaks of what was, so nothing in it is compared with the code of today.
DOCUMENTS: Final = sorted(
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/**/*.md", "deploy/**/*.md", "examples/*.md")
    for path in ROOT.glob(pattern)
)

_BLOCK: Final = re.compile(r"```.*?```", re.DOTALL)


def name(document: Path) -> str:
    """Return the path of a document as one writes it."""
    return document.relative_to(ROOT).as_posix()


def prose(document: Path) -> str:
    """Return the text of a document without its blocks of code, each paragraph's lines joined."""
    return re.sub(r"\s*\n(?!\n)\s*", " ", _BLOCK.sub("", document.read_text()))


def quoted(document: Path) -> list[str]:
    """Return what stands in backquotes in a document, outside of blocks."""
    return re.findall(r"`([^`]+)`", prose(document))
