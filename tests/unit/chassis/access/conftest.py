"""Servers that ask who calls, and callers with certificates of an authority of the test's own."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from script.local.certificates import Authority, Pair
from tests.unit.chassis.conftest import Running, Serve

WEB = "spiffe://example.org/ns/web/sa/web"
VALIDATE = "vibework.users.v1.SessionService/ValidateSession"
WATCH = "vibework.notifications.v1.NotificationService/WatchNotifications"


@dataclass
class Certificates:
    """An authority, and a server's pair that it signed."""

    folder: Path
    authority: Authority = field(default_factory=lambda: Authority.new("test"))

    def __post_init__(self) -> None:
        """Write what the server's settings name."""
        pair = self.authority.issue("server", ["127.0.0.1", "localhost"])
        self.settings: dict[str, Any] = {
            "tls_cert_file": self.write("server.pem", pair.certificate),
            "tls_key_file": self.write("server.key", pair.key),
            "tls_client_ca_file": self.write("ca.pem", self.authority.certificate),
        }

    def write(self, name: str, content: bytes) -> Path:
        """Write a file into the folder."""
        (self.folder / name).write_bytes(content)
        return self.folder / name

    def credentials(self, *names: str) -> grpc.ChannelCredentials:
        """Return what a caller shows whose certificate holds these names."""
        pair: Pair = self.authority.issue("caller", names)
        return grpc.ssl_channel_credentials(self.authority.certificate, pair.key, pair.certificate)


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    """Return a new authority."""
    return Certificates(tmp_path)


As = Callable[..., Awaitable[Running]]


@pytest.fixture
async def as_caller(certificates: Certificates) -> AsyncIterator[As]:
    """Return what calls a running server with a certificate of these names."""
    async with AsyncExitStack() as stack:

        async def open_channel(running: Running, *names: str) -> Running:
            channel = grpc.aio.secure_channel(running.server.address, certificates.credentials(*names))
            return Running(running.server, await stack.enter_async_context(channel))

        yield open_channel


@dataclass
class PolicyFile:
    """A policy on disk; each time it is written its file is one that has changed."""

    path: Path
    _written: int = 0

    def write(self, text: str) -> Path:
        """Write it anew."""
        self.path.write_text(text)
        self._written += 1
        os.utime(self.path, (self._written, self._written))
        return self.path

    def grant(self, caller: str, *rpcs: str, more: str = "") -> Path:
        """Write a policy of one rule."""
        return self.write(f"[[rules]]\ncallers = [{caller!r}]\nrpcs = {list(rpcs)!r}\n{more}\n")


@pytest.fixture
def policy_file(tmp_path: Path) -> PolicyFile:
    """Return a policy file that is not written yet."""
    return PolicyFile(tmp_path / "policy.toml")


Asking = Callable[..., Awaitable[Running]]


@pytest.fixture
def asking(serve: Serve, certificates: Certificates, policy_file: PolicyFile) -> Asking:
    """Return what starts a server that asks its callers for certificates, under the policy that is written by then."""

    async def start(*handlers: Any, **settings: Any) -> Running:
        return await serve(*handlers, **certificates.settings, access_policy_file=policy_file.path, **settings)

    return start
