"""Errors of callers: unknown, not allowed, too many calls; each is told before anything of the call is decoded."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from chassis.access.problems import Problem
from chassis.errors import PermissionDenied, ResourceExhausted, Unauthenticated


class CallerUnknown(Unauthenticated):
    """Nothing proves who calls: no acceptable client certificate, and no acceptable token."""

    reason = "CALLER_UNKNOWN"
    keys = ("problem",)
    template = "nothing acceptable says who calls: {problem}"

    def __init__(self, problem: Problem) -> None:
        super().__init__()
        self.problem = problem


class CallerForbidden(PermissionDenied):
    """The policy does not grant this caller this RPC."""

    reason = "CALLER_FORBIDDEN"
    keys = ("caller", "rpc")
    template = "the policy does not let this caller call this RPC"

    def __init__(self, caller: str, rpc: str | None) -> None:
        """``caller``: its name, as policies know it. ``rpc``: its full name; None: there is none of that name."""
        super().__init__()
        self.caller = caller
        self.rpc = rpc


class CallerRateLimited(ResourceExhausted):
    """A caller calls more often than the policy grants, or shows more new tokens than are verified."""

    reason = "CALLER_RATE_LIMITED"
    keys = ("limited_by", "per_second")
    template = "too many {limited_by} a second"

    def __init__(self, limited_by: Literal["calls", "tokens"], per_second: float, retry_after: timedelta) -> None:
        super().__init__(retry_after=retry_after)
        self.limited_by = limited_by
        self.per_second = f"{per_second:g}"
