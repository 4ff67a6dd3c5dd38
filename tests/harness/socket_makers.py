"""Tells in a socket's repr who made it: a socket that nobody closed fails the test during which it is collected.

That is some later test, and Python's warning shows only the addresses.
"""

from __future__ import annotations

import os
import socket
import sys
from types import FrameType
from typing import Any, Final

# Frames of the maker that are kept, the innermost first.
FRAMES: Final = 12

# By the socket's id, since a collected socket has no weak references any more. A new one takes its predecessor's place.
_makers: Final[dict[int, str]] = {}

_init: Final = socket.socket.__init__
_repr: Final = socket.socket.__repr__


def _noting(self: socket.socket, *arguments: Any, **options: Any) -> None:
    _init(self, *arguments, **options)
    _makers[id(self)] = f"{os.environ.get('PYTEST_CURRENT_TEST', 'no test')}: {' < '.join(_callers())}"


def _telling(self: socket.socket) -> str:
    return f"{_repr(self)[:-1]}, made by {_makers.get(id(self), 'the interpreter')}>"


def _callers() -> list[str]:
    frame: FrameType | None = sys._getframe(2)
    found: list[str] = []
    while frame and len(found) < FRAMES:
        found.append(f"{'/'.join(frame.f_code.co_filename.split('/')[-2:])}:{frame.f_lineno}")
        frame = frame.f_back
    return found


def pytest_configure() -> None:
    """Note makers from now on."""
    socket.socket.__init__ = _noting  # type: ignore[method-assign]
    socket.socket.__repr__ = _telling  # type: ignore[assignment,method-assign]
