"""Circuit breaker: stop asking a dependency that keeps failing, and probe it again after a pause."""

from __future__ import annotations

from time import monotonic
from typing import Final


class CircuitOpen(Exception):
    """The dependency failed too often of late; nothing was sent."""


class CircuitBreaker:
    """Opens after ``failures`` failures in a row, for ``pause`` seconds; then one call probes.

    The probe's success closes the circuit, its failure opens it again. Used from one event loop.
    """

    def __init__(self, failures: int = 5, pause: float = 5.0) -> None:
        self._limit: Final = failures
        self._pause: Final = pause
        self._failed = 0
        self._closed_again_at = 0.0

    @property
    def is_open(self) -> bool:
        """Say whether a call made now would be refused."""
        return self._failed >= self._limit and monotonic() < self._closed_again_at

    @property
    def is_probing(self) -> bool:
        """Say whether it has opened, and the next call that passes is a probe."""
        return self._failed >= self._limit

    def before(self) -> None:
        """Let a call pass or raise ``CircuitOpen``. A passed call must be followed by an outcome."""
        if self._failed < self._limit:
            return
        now = monotonic()
        if now < self._closed_again_at:
            raise CircuitOpen
        # This call is the probe; the others wait until it ends, or for another pause if it never does.
        self._closed_again_at = now + self._pause

    def succeeded(self) -> None:
        """Note that the dependency answered (also with an error that is the caller's)."""
        self._failed = 0

    def failed(self) -> None:
        """Note that the dependency could not answer."""
        self._failed += 1
        if self._failed >= self._limit:
            self._closed_again_at = monotonic() + self._pause
