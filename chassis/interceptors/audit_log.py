"""The audit log: who did what to whom, a line for each call of an RPC that changes something or discloses a secret.

A line has the caller, the RPC, the ids of those it is about, the outcome and the request id, and never a value.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from chassis.access.audited import MOST_SUBJECTS, is_audited, subjects_of_answer, subjects_of_request
from chassis.context import calls
from chassis.context.calls import Call
from chassis.interceptors import Context, Handler

# Names the caller of a call that no gate has asked for; "" where nothing does.
NameOf = Callable[[Call], str]


def auditing(method: str, handler: Handler) -> Handler:
    """Return a handler that notes whom a call is about; the same one where the method is not audited."""
    if not is_audited(method):
        return handler
    of_request, of_answer = subjects_of_request(method), subjects_of_answer(method)

    async def handle(request: Any, context: Context) -> Any:
        call = calls.current()
        if call is None:
            return await handler(request, context)
        call.subjects = of_request(request)
        response = await handler(request, context)
        if not call.subjects and response is not None:
            call.subjects = of_answer(response)
        return response

    return handle


class AuditLog:
    """Writes a line for every audited call that has ended, whatever its outcome: an observer."""

    def __init__(self, write: Callable[[bytes], object], name_of: NameOf, flush: Callable[[], object]) -> None:
        self._write = write
        self._name_of = name_of
        self._audited: dict[str, bool] = {}
        self.flush: Final = flush

    def add(self, call: Call) -> None:
        """Write the line of a call, if its method is audited."""
        audited = self._audited.get(call.method)
        if audited is None:
            audited = self._audited[call.method] = is_audited(call.method)
        if audited:
            self._write(orjson.dumps(self._line(call)))

    def _line(self, call: Call) -> dict[str, Any]:
        subjects = call.subjects
        line: dict[str, Any] = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": "info",
            "event": "audit",
            "caller": call.caller or self._name_of(call),
            "rpc": call.method.removeprefix("/"),
            "subjects": subjects[:MOST_SUBJECTS],
            "code": call.code,
            "reason": call.reason,
            "request_id": call.request_id,
            "peer": call.context.peer(),
        }
        if len(subjects) > MOST_SUBJECTS:
            line["subjects_in_all"] = len(subjects)
        return line
