"""ExportUser on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, Final

from vibework.users.v1 import user_service_pb2 as pb
from vibework.users.v1 import user_service_pb2_grpc

from chassis.context import calls
from chassis.errors import CallDeadlineExceeded
from chassis.interceptors import Context
from users_service.exports.service import UserExports

# Seconds for which a record may wait to be taken.
RECORD_SECONDS: Final = 60.0


class ExportServicer(user_service_pb2_grpc.UserServiceServicer):
    """Answers ExportUser of ``vibework.users.v1.UserService``; the others are answered elsewhere."""

    def __init__(self, exports: UserExports) -> None:
        self._exports = exports

    async def ExportUser(  # type: ignore[override]
        self, request: pb.ExportUserRequest, context: Context
    ) -> None:
        """Stream everything that is kept of a user; the next record is read when the caller has room for it."""
        write = while_taken(calls.noting_writes(context.write), RECORD_SECONDS)
        async with aclosing(self._exports.export_user(request.id)) as records:  # type: ignore[type-var]
            async for record in records:
                await write(record)


def while_taken(write: Callable[[Any], Awaitable[None]], seconds: float) -> Callable[[Any], Awaitable[None]]:
    """Return the ``write`` of the current call such that the call is over where a record is not taken for too long.

    Then it is counted out at once, and ends with CallDeadlineExceeded as soon as the record is taken, if ever: gRPC
    takes no status while a message waits.
    """
    call, loop = calls.current(), asyncio.get_running_loop()
    late = False

    def give_up() -> None:
        nonlocal late
        late = True
        if call is not None and call.ending is not None:
            call.ending(CallDeadlineExceeded())

    async def guarded(record: Any) -> None:
        timer = loop.call_later(seconds, give_up)
        try:
            await write(record)
        except Exception as error:
            if not late:
                raise
            # The caller has gone meanwhile, which gRPC reports by an error of its own.
            raise CallDeadlineExceeded from error
        finally:
            timer.cancel()
        if late:
            raise CallDeadlineExceeded

    return guarded
