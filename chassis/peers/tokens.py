"""The token that this service shows at the other one: read from a file, and again when the file has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any, Final

import grpc
from grpc.aio import ClientCallDetails

from chassis.access.files import stamp_of
from chassis.access.identities import AUTHORIZATION
from chassis.logs import logging

# The kubelet renews a token at 80 % of its life, which is 10 minutes at least.
LOOK_AGAIN_SECONDS: Final = 1.0

log = logging.get("chassis.peers")


class PeerToken(grpc.aio.UnaryUnaryClientInterceptor):
    """Puts the token into the metadata of every call. ``now``: a monotonic clock, in seconds.

    A file that cannot be read leaves the last token in use, which is told once.
    """

    def __init__(self, path: Path, now: Callable[[], float] = monotonic) -> None:
        self._path = path
        self._now = now
        self._stamp: object = None
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._entry: tuple[tuple[str, str], ...] = ()

    async def intercept_unary_unary(
        self,
        continuation: Callable[[ClientCallDetails, Any], Any],
        client_call_details: ClientCallDetails,
        request: Any,
    ) -> Any:
        """Call with the token; without one, where it was never there."""
        details = client_call_details
        metadata = grpc.aio.Metadata(*(details.metadata or ()), *self._metadata())
        shown = ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        return await continuation(shown, request)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        if self._now() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = self._now()
            self._look()
        return self._entry

    def _look(self) -> None:
        try:
            stamp = stamp_of(self._path)
            if stamp != self._stamp:
                self._entry = ((AUTHORIZATION, f"Bearer {self._path.read_text(encoding='ascii').strip()}"),)
        except (OSError, UnicodeDecodeError) as error:
            stamp = None
            if self._stamp is not None or not self._entry:
                log.warning("token for the other service not read", kind=type(error).__name__)
        self._stamp = stamp
