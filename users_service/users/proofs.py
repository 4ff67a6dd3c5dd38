"""Voiding of verifications that were sent to an address before its user changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

# Removes every verification of the addresses given after the connection, in that connection's transaction.
VoidProofs = Callable[..., Awaitable[Any]]
