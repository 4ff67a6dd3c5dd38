"""The gates of callers: who calls, and whether and how often the policy lets them.

They stand in this order behind the limit on metadata, so that an unknown caller is told no more than that, and one that
may not call is told before anything is decoded or looked for (AIP-193: permission is checked before existence).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from chassis.context.calls import Call
from chassis.interceptors import Method
from chassis.interceptors.gates import Gate, GateCheck


class Admits(Protocol):
    """The policy in force."""

    def admit(self, caller: str, method: str) -> None:
        """Count a call, or raise CallerForbidden or CallerRateLimited."""

    def admit_unlisted(self, caller: str, method: str) -> None:
        """Do the same for a method that does not exist."""


def identified(caller_of: Callable[[Call], str]) -> Gate:
    """Return the gate that names the caller of every call, or refuses it with what ``caller_of`` raises."""

    def check(call: Call) -> None:
        call.caller = caller_of(call)

    return lambda _: check


def permitted(policy: Admits) -> Gate:
    """Return the gate that asks the policy in force; the caller is named by then."""

    def gate(method: Method) -> GateCheck:
        name = method.name

        def check(call: Call) -> None:
            policy.admit(call.caller or "", name)

        return check

    return gate


def permitted_unlisted(policy: Admits) -> Gate:
    """Return the gate of methods that do not exist: whoever could not call them if they did is not told so."""

    def check(call: Call) -> None:
        policy.admit_unlisted(call.caller or "", call.asked)

    return lambda _: check
