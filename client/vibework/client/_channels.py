"""Channels: where they lead, how they are secured, and which one the next call takes.

A client has some connections to each address and takes them in turn. Where gRPC can do that itself it does, since it
leaves out servers that are away (``targets``). Where certificates are files, they are looked at from time to time, and
new connections are made with new ones; calls that are in flight end on the old connections.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import grpc
from vibework.client._failure import MisusedClient

# A token, a file that holds one (read again when it changes), or what returns one for each call.
Token = str | Path | Callable[[], str]

# How often files are looked at.
LOOK_SECONDS: Final = 5.0
# The name in the services' health that says whether a process takes calls: from its start until it begins to end.
ACCEPTING: Final = "accepting"


@dataclass(frozen=True, slots=True)
class TLS:
    """How connections are secured; files are PEM and are read again when they change.

    ``ca``: the authority that has signed the services' certificates; None: those that the system trusts.
    ``certificate`` and ``key``: what is shown where the services ask callers for a certificate (mutual TLS).
    ``server_name``: the name in the services' certificate where it is not that of the address.
    """

    ca: Path | str | None = None
    certificate: Path | str | None = None
    key: Path | str | None = None
    server_name: str = ""

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together: give both or neither")

    @property
    def files(self) -> tuple[Path, ...]:
        """Return the files that are named."""
        return tuple(Path(each) for each in (self.ca, self.certificate, self.key) if each is not None)

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files.

        Raises OSError where one cannot be read, and ssl.SSLError, which is one, where certificate and key do not fit:
        of a renewal one may be there first, and gRPC would find out by connections that fail.
        """
        if self.certificate is not None and self.key is not None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(self.certificate, self.key, password=str)
        ca, certificate, key = (
            None if each is None else Path(each).read_bytes() for each in (self.ca, self.certificate, self.key)
        )
        return grpc.ssl_channel_credentials(ca, key, certificate)


def service_config(repeatable: Iterable[str] = (), *, avoids_ending: bool = False) -> str:
    """Return gRPC's service config: all addresses of a name in turn, and retries of the methods that may be repeated.

    ``repeatable``: full names, ``package.Service/Method``. For bare stubs; the clients here repeat calls themselves,
    since what may be repeated depends on the reason of the error, which gRPC does not read.

    ``avoids_ending``: a process that has begun to end gets no more calls; for targets of several addresses alone, since
    calls fail at once where all processes say so. Without it a call may reach a process at the moment in which that
    says goodbye, and be CANCELLED.
    """
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if avoids_ending:
        config["healthCheckConfig"] = {"serviceName": ACCEPTING}
    names = [name.strip("/").split("/", 1) for name in repeatable]
    if names:
        policy = {
            "maxAttempts": 3,
            "initialBackoff": "0.05s",
            "maxBackoff": "0.5s",
            "backoffMultiplier": 2,
            # CANCELLED, too: gRPC's core says so for a call that reaches a server in the moment in which it ends.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        }
        listed = [{"service": service, "method": method} for service, method in names]
        config["methodConfig"] = [{"name": listed, "retryPolicy": policy}]
        # A server that ends fails all calls in flight at once: 100 failures in a row are retried before retries stop.
        config["retryThrottling"] = {"maxTokens": 200, "tokenRatio": 0.1}
    return json.dumps(config)


def channel_options(*, keepalive_seconds: float, config: str, server_name: str = "") -> list[tuple[str, Any]]:
    """Return the options of a channel to one of the services; ``config``: a ``service_config``."""
    options: list[tuple[str, Any]] = [
        ("grpc.keepalive_time_ms", int(keepalive_seconds * 1_000)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        # The default backs off for up to two minutes. Who restarts processes in turn waits a few seconds between them
        # (docs/operations.md), after which every client must have found the first one again.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.service_config", config),
    ]
    if server_name:
        options.append(("grpc.ssl_target_name_override", server_name))
    return options


def targets(addresses: Sequence[str], tls: TLS | None = None) -> tuple[str, ...]:
    """Return what channels lead to: one target for all addresses, where gRPC can take turns among them, or else each.

    gRPC takes no server that is away, and a call that has not left goes to another one. It can be told several
    addresses only by number, all of IPv4 or all of IPv6, and checks certificates for one name.
    """
    kinds = {_kind(address) for address in addresses}
    if len(addresses) < 2 or len(kinds) > 1 or None in kinds or (tls is not None and not tls.server_name):
        return tuple(addresses)
    return (f"{kinds.pop()}:{','.join(addresses)}",)


def _kind(address: str) -> str | None:
    """Return gRPC's scheme of an address by number with its port; None: it is a name, or has a scheme of its own."""
    host, separator, port = address.rpartition(":")
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    return f"ipv{ip.version}" if separator and port.isdecimal() else None


class Stamp:
    """Says when files have changed; looks at most every ``LOOK_SECONDS``."""

    def __init__(self, files: Sequence[Path], clock: Callable[[], float] = time.monotonic) -> None:
        self._files = tuple(files)
        self._clock = clock
        self._looked_at = clock()
        self._seen = self._look()

    def has_changed(self) -> bool:
        """Say whether a file is another one than it was when this was last true, or at the beginning."""
        if not self._files or self._clock() - self._looked_at < LOOK_SECONDS:
            return False
        self._looked_at = self._clock()
        seen = self._look()
        changed = seen is not None and seen != self._seen
        if changed:
            self._seen = seen
        return changed

    def _look(self) -> tuple[tuple[int, int, int], ...] | None:
        try:
            found = [path.stat() for path in self._files]
        except OSError:
            # Being replaced at this moment.
            return None
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


class Bearer:
    """The token that calls carry (RFC 6750)."""

    def __init__(self, token: Token | None) -> None:
        self._token = token
        self._stamp = Stamp([token]) if isinstance(token, Path) else None
        self._read = token.read_text().strip() if isinstance(token, Path) else ""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Return the metadata of the next call. Raises what a callable raises."""
        token = self._current()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _current(self) -> str:
        if self._token is None or isinstance(self._token, str):
            return self._token or ""
        if not isinstance(self._token, Path):
            return self._token()
        if self._stamp is not None and self._stamp.has_changed():
            try:
                self._read = self._token.read_text().strip() or self._read
            except OSError:
                # The last one serves on, until it has expired.
                return self._read
        return self._read


class Closeable(Protocol):
    """A channel of grpc or grpc.aio."""

    def close(self) -> Any:
        """Close it."""
        ...


C = TypeVar("C", bound=Closeable)


@dataclass(slots=True)
class Connection(Generic[C]):
    """One channel, and how many calls are on it."""

    channel: C
    calls: int = 0
    retired: bool = False
    # The callables of methods: making one for each call costs more than a lookup.
    callables: dict[str, Any] = field(default_factory=dict)


class Connections(Generic[C]):
    """The connections of a client; thread-safe. ``open_channel``: opens one to a target, with these credentials."""

    def __init__(
        self,
        targets: Sequence[str],
        each: int,
        tls: TLS | None,
        open_channel: Callable[[str, grpc.ChannelCredentials | None], C],
    ) -> None:
        if not targets or each < 1:
            raise ValueError("at least one address and one connection are needed")
        self._targets = tuple(targets)
        self._each = each
        self._tls = tls
        self._open_channel = open_channel
        self._stamp = Stamp(tls.files if tls else ())
        self._lock = threading.Lock()
        self._open = self._made()
        self._turn = itertools.count()
        self._closed = False

    def take(self) -> tuple[Connection[C], list[C]]:
        """Return the next connection, with one call more, and old channels that are to be closed now.

        Raises MisusedClient where the client was closed.
        """
        with self._lock:
            if self._closed:
                raise MisusedClient("the client is closed")
            idle = self._renewed() if self._stamp.has_changed() else []
            connection = self._open[next(self._turn) % len(self._open)]
            connection.calls += 1
            return connection, idle

    def give_back(self, connection: Connection[C]) -> list[C]:
        """Note that a call has ended; return channels that are to be closed now."""
        with self._lock:
            connection.calls -= 1
            return [connection.channel] if connection.retired and connection.calls == 0 else []

    def close(self) -> list[C]:
        """Return all open channels, which are to be closed."""
        with self._lock:
            self._closed = True
            left, self._open = self._open, []
            return [connection.channel for connection in left]

    def _renewed(self) -> list[C]:
        """Make new connections with the new files; return the channels of old ones without calls."""
        try:
            made = self._made()
        except (OSError, ValueError):
            # The files do not fit together yet; the old connections serve on, and the files are looked at again.
            return []
        old, self._open = self._open, made
        for connection in old:
            connection.retired = True
        return [connection.channel for connection in old if connection.calls == 0]

    def _made(self) -> list[Connection[C]]:
        credentials = self._tls.credentials() if self._tls else None
        # All of them once, then all again: neighbours in turn are different servers.
        order = [target for _ in range(self._each) for target in self._targets]
        return [Connection(self._open_channel(target, credentials)) for target in order]
