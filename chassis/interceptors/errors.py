"""Error mapping: every exception of a handler leaves as one rich status, and none says too much.

An exception that reached gRPC itself would arrive at the caller as ``UNKNOWN`` with its text, SQL and
all. Cancellation and an abort that already happened pass untouched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NoReturn

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from chassis.context.calls import REQUEST_ID_KEY, Call
from chassis.contract import localization
from chassis.errors import InternalError, ServiceError
from chassis.interceptors import Context, NotWritten
from chassis.interceptors.in_flight import taken_back
from chassis.interceptors.status import DETAILS_KEY, code_of, to_status
from chassis.logs import logging

# How the transports say it.
_NOT_WRITTEN: Final[tuple[type[Exception], ...]] = (cygrpc.ExecuteBatchError, NotWritten)


async def fail(
    call: Call, context: Context, error: BaseException, ended: Callable[[], None] = lambda: None
) -> NoReturn:
    """End a call with the status of ``error``; raises AbortError, or ``error`` itself.

    ``ended``: called once the outcome is noted, before the caller takes the status, which may be never.
    """
    if isinstance(error, asyncio.CancelledError) and (cause := taken_back(call)) is not None:
        error = cause()
    if isinstance(error, grpc.aio.AbortError) or not isinstance(error, Exception):
        call.code = "ABORTED_BY_HANDLER" if isinstance(error, Exception) else "CANCELLED"
        ended()
        raise error
    if not isinstance(error, ServiceError):
        if isinstance(error, _NOT_WRITTEN) or context.cancelled():
            # The caller went while the answer was being written, which gRPC reports by an error of its own, at times
            # before it says that the call is cancelled.
            call.code = "CANCELLED"
            ended()
            raise asyncio.CancelledError from error
        logging.get("chassis.errors").error("unexpected error", method=call.method, exc_info=error)
        error = InternalError()
    note(call, error)
    ended()
    await _abort(call, context, error)


def note(call: Call, error: ServiceError) -> None:
    """Note an error as the outcome of a call."""
    call.code, call.reason = code_of(error).name, error.reason


async def _abort(call: Call, context: Context, error: ServiceError) -> NoReturn:
    status = to_status(error, call.request_id, localization.wanted(call.metadata))
    metadata = ((DETAILS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, call.request_id))
    await context.abort(code_of(error), status.message, metadata)
