"""Names of methods that are no UTF-8, which would end the listener that they reach.

``grpc.aio`` (1.85.1) decodes the path of a call in the loop that accepts calls, where an error ends that loop and its
server (docs/decisions/0053-listeners-watched.md). Nothing of ours runs before, but Python's own handler of errors in
decoding does, and it can be replaced.
"""

from __future__ import annotations

import asyncio
import codecs
from typing import Final

# The coroutine of gRPC in which calls are accepted; no other code is meant.
_ACCEPTING: Final = "AioServer._server_main_loop"


def tolerate() -> None:
    """Have such names read with U+FFFD in place of what is wrong, from now on: then they are unknown methods.

    Wherever else text cannot be converted, Python raises as it always does.
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
