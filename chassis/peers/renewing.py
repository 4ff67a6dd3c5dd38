"""A channel over TLS whose certificates are read again when their files change.

gRPC's client takes its certificates once, for good, so new ones need a new channel. Stubs keep the methods that they
were made with; these here look up the channel of the moment at each call. Calls in flight end on the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import grpc

from chassis import background
from chassis.logs import logging
from chassis.serving.tls import ClientFiles

# The files are looked at no more often than this, and when a call is made.
LOOK_AGAIN_SECONDS: Final = 1.0
# How long calls on a channel that was replaced get to finish.
OLD_CHANNEL_SECONDS: Final = 30.0

log = logging.get("chassis.peers")

OpenChannel = Callable[[grpc.ChannelCredentials], grpc.aio.Channel]


class RenewingChannel(grpc.aio.Channel):
    """Calls over the newest certificates that could be read. ``open_channel``: makes a channel with credentials.

    Raises OSError where a file cannot be read, and ssl.SSLError where a certificate and its key do not fit; later that
    leaves the last good ones in use, which is told. ``now``: a monotonic clock, in seconds.
    """

    def __init__(self, files: ClientFiles, open_channel: OpenChannel, now: Callable[[], float] = monotonic) -> None:
        self._files = files
        self._open = open_channel
        self._now = now
        self._looked_at = now()
        self._current = open_channel(files.credentials)
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def current(self) -> grpc.aio.Channel:
        """The channel to call over now."""
        if self._now() - self._looked_at >= LOOK_AGAIN_SECONDS:
            self._looked_at = self._now()
            if self._files.renewed():
                self._replace()
        return self._current

    def _replace(self) -> None:
        old, self._current = self._current, self._open(self._files.credentials)
        log.info("new certificates for calls to the other service")
        closing = asyncio.get_running_loop().create_task(old.close(OLD_CHANNEL_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return the method as a stub calls it; so do the others."""
        return _Method(self, "unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return the method of a stream of answers."""
        return _Method(self, "unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """Return the method of a stream of requests."""
        return _Method(self, "stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """Return the method of two streams."""
        return _Method(self, "stream_stream", arguments, options)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the state of the channel of the moment."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the channel of the moment is in another state."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the channel of the moment is connected."""
        await self.current.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close the channel, and those whose calls are still ending."""
        await self._current.close(grace)
        await background.end(self._closing)

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        await self.close()


class _Method:
    """A method over the channel of the moment."""

    def __init__(self, renewing: RenewingChannel, shape: str, arguments: Any, options: Any) -> None:
        self._renewing = renewing
        self._made_with = (shape, arguments, options)
        self._channel: grpc.aio.Channel | None = None
        self._method: Any = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        channel = self._renewing.current
        if channel is not self._channel:
            shape, given, named = self._made_with
            make: Any = getattr(channel, shape)
            self._channel, self._method = channel, make(*given, **named)
        return self._method(*arguments, **options)
