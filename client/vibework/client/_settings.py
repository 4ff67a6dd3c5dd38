"""What a client is told when it connects; the same for clients that block and those for asyncio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

from vibework.client._channels import TLS, Bearer, Token, channel_options, service_config, targets
from vibework.client._methods import Method
from vibework.client._retrying import RetryPolicy


@dataclass(frozen=True)
class Settings:
    """The settings of a client; ``connect`` has them as arguments, where they are explained."""

    addresses: tuple[str, ...]
    tls: TLS | None = None
    token: Token | None = field(default=None, repr=False)
    connections: int = 1
    timeouts: Mapping[str, float] = field(default_factory=dict)
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    keepalive_seconds: float = 30.0
    locale: str = ""

    @classmethod
    def of(cls, address: str | Sequence[str], **others: Any) -> Settings:
        """Make settings of one address or several."""
        return cls((address,) if isinstance(address, str) else tuple(address), **others)

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """Return what channels lead to."""
        return targets(self.addresses, self.tls)

    @property
    def options(self) -> list[tuple[str, Any]]:
        """Return the options of channels."""
        server_name = self.tls.server_name if self.tls else ""
        several = self.targets != self.addresses
        options = channel_options(
            keepalive_seconds=self.keepalive_seconds,
            config=service_config(avoids_ending=several),
            server_name=server_name,
        )
        # Each connection is one, although their options are the same. The client repeats calls itself; gRPC those only
        # that no server has seen, which is safe for all.
        options.append(("grpc.use_local_subchannel_pool", 1))
        if self.tls is None and several:
            # Several addresses are not the name of a server.
            options.append(("grpc.default_authority", self.addresses[0]))
        return options

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return what every call carries."""
        return (("accept-language", self.locale),) if self.locale else ()

    def seconds(self, method: Method, wanted: float | None) -> float:
        """Return how long a call may take. Raises ValueError for a time that is none."""
        seconds = self.timeouts.get(method.name, method.seconds) if wanted is None else wanted
        if seconds <= 0:
            raise ValueError("timeout must be more than 0 seconds")
        return seconds


class Connectable:
    """What both kinds of clients are told, and carry with every call."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bearer = Bearer(settings.token)

    @classmethod
    def connect(
        cls,
        address: str | Sequence[str],
        *,
        tls: TLS | None = None,
        token: Token | None = None,
        connections: int = 1,
        timeouts: Mapping[str, float] | None = None,
        retries: RetryPolicy | None = None,
        keepalive_seconds: float = 30.0,
        locale: str = "",
    ) -> Self:
        """Return a client; connections are made by the first calls, and again after every loss.

        Arguments:
          address: ``host:port``, whose addresses are all taken in turn (round robin), or several such.
          tls: how connections are secured; None: they are not, which the services allow on one machine only.
          token: what says who calls, where the services ask for a token: a text, a file that is read again when it
            changes (Kubernetes), or what returns one for each call.
          connections: to each address. One carries some 4,000 calls a second; take more where it is the bottleneck.
          timeouts: seconds by name of RPC, such as ``{"SignIn": 3}``, in place of those of the client, which are
            a few for reads and more for what takes longer. Repetitions are within that time.
          retries: how often a call is tried that may be repeated.
          keepalive_seconds: how often a connection is pinged that has nothing to do.
          locale: language of messages for people (BCP 47), as far as the services have it.
        """
        settings = Settings.of(
            address,
            tls=tls,
            token=token,
            connections=connections,
            timeouts=dict(timeouts or {}),
            retries=retries or RetryPolicy(),
            keepalive_seconds=keepalive_seconds,
            locale=locale,
        )
        return cls(settings)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (*self._settings.metadata, *self._bearer.metadata())
