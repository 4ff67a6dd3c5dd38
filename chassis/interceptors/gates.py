"""Gates: what may refuse a call by its headers, after admission and before its message is awaited and decoded.

Who calls, whether they may, and how often are asked here: a refused call costs no decoding and no validation. A gate
is bound to each method when the server is built, so that what depends on the method alone is decided once, and a
method that has nothing to check pays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from chassis.context.calls import Call
from chassis.interceptors import Method

# Looks at one call and returns, or raises the ``ServiceError`` that refuses it; any other error refuses it as INTERNAL.
# It does not wait: all calls of the process share its thread.
GateCheck: TypeAlias = Callable[[Call], None]
# Makes the check of one method, or returns None where there is nothing to check.
Gate: TypeAlias = Callable[[Method], GateCheck | None]


def bind(gates: Iterable[Gate], method: Method) -> tuple[GateCheck, ...]:
    """Return the checks of a method, in the order of its gates."""
    return tuple(check for gate in gates if (check := gate(method)) is not None)
