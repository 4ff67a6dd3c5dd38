"""Method names that are no UTF-8: without this module, a call of one ends the listener that it reaches.

``grpc.aio`` (1.85.1) decodes the path of a call in the loop that accepts calls, where an error ends that loop and its
server (docs/decisions/0053-listeners-watched.md). None of our code runs before that. But Python lets us replace its
handler of decoding errors, which does.
"""

from __future__ import annotations

import asyncio
import codecs
from typing import Final

# The coroutine of gRPC in which calls are accepted; no other code is meant.
_ACCEPTING: Final = "AioServer._server_main_loop"


def tolerate() -> None:
    """From now on, read such names with U+FFFD in place of wrong bytes, so that they are unknown methods.

    Anywhere else a decoding error is raised as always.
    """
    codecs.register_error("strict", _strict)


def _strict(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError) and _accepts_calls():
        return "\ufffd", error.end
    raise error


def _accepts_calls() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in a thread without an event loop
        return False
    return task is not None and getattr(task.get_coro(), "__qualname__", "") == _ACCEPTING
