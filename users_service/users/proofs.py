"""What a change of a user takes away: proofs that were on their way to an address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

# Removes every verification of the addresses given after the connection, in that connection's transaction.
VoidProofs = Callable[..., Awaitable[Any]]
