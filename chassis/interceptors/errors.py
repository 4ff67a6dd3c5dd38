"""Error mapping: every exception of a handler leaves as one rich status, and none says too much.

An exception that reached gRPC itself would arrive at the caller as ``UNKNOWN`` with its text, SQL and
all. Cancellation and an abort that already happened pass untouched.
"""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import grpc

from chassis import calls, logging
from chassis.errors import InternalError, ServiceError
from chassis.interceptors import Context, Handler, Interceptor, Method
from chassis.interceptors.request_id import KEY
from chassis.status import DETAILS_KEY, code_of, to_status


def errors() -> Interceptor:
    """Make the interceptor; only the request id and the access log are further out."""
    log = logging.get("chassis.errors")

    def intercept(method: Method, handler: Handler) -> Handler:
        async def handle(request: Any, context: Context) -> Any:
            try:
                return await handler(request, context)
            except ServiceError as error:
                await _abort(context, error)
            except asyncio.CancelledError:
                _record("CANCELLED", "")
                raise
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                log.error("unexpected error", method=method.name, exc_info=error)
                await _abort(context, InternalError())

        return handle

    return intercept


def _record(code: str, reason: str) -> calls.Call | None:
    call = calls.current()
    if call is not None:
        call.code, call.reason = code, reason
    return call


async def _abort(context: Context, error: ServiceError) -> NoReturn:
    code = code_of(error)
    call = _record(code.name, error.reason)
    status = to_status(error)
    metadata: list[tuple[str, str | bytes]] = [(DETAILS_KEY, status.SerializeToString())]
    if call is not None:
        metadata.append((KEY, call.request_id))
    await context.abort(code, status.message, tuple(metadata))
