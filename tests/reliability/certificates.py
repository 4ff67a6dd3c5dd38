"""Certificates of a cluster: files that services, their clients and the probes read, and that change while they run.

All show one certificate, as servers and as callers, and all demand one of each other (mutual TLS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

import grpc
from vibework.client import TLS
from vibework.testing.local.ports import LOOPBACK

from script.local.certificates import Authority, Pair

# By which callers know every process; processes call each other by address.
NAME: Final = "pair.vibework.test"


@dataclass
class Certificates:
    """The files in a folder, valid until somebody changes them."""

    folder: Path
    _authority: Authority = field(default_factory=lambda: Authority.new("faults"))

    def __post_init__(self) -> None:
        self._write("authority.pem", self._authority.certificate)
        self.renew()

    @property
    def settings(self) -> Mapping[str, str]:
        """The environment of a service that demands certificates, and shows its own to the other one."""
        authority = str(self.folder / "authority.pem")
        return {
            "TLS_CERT_FILE": str(self.folder / "certificate.pem"),
            "TLS_KEY_FILE": str(self.folder / "key.pem"),
            "TLS_CLIENT_CA_FILE": authority,
            "PEER_TLS_CA_FILE": authority,
        }

    @property
    def of_callers(self) -> TLS:
        """What clients are given."""
        authority, certificate, key = (self.folder / f"{name}.pem" for name in ("authority", "certificate", "key"))
        return TLS(authority, certificate, key, NAME)

    def renew(self, seconds: float | None = None) -> None:
        """Let a new certificate with a new key lie there, which holds for so many seconds; None: for long."""
        pair = self._issued(seconds)
        self._write("key.pem", pair.key)
        self._write("certificate.pem", pair.certificate)

    def spoil(self) -> None:
        """Let a certificate lie there without its key, as in the midst of a renewal."""
        self._write("certificate.pem", self._issued(None).certificate)

    def _issued(self, seconds: float | None) -> Pair:
        lifetime = {} if seconds is None else {"lifetime": timedelta(seconds=seconds)}
        return self._authority.issue("pair", [NAME, LOOPBACK], **lifetime)

    def _write(self, name: str, content: bytes) -> None:
        """Replace a file whole, as docs/operations.md has it."""
        beside = self.folder / f"{name}.new"
        beside.write_bytes(content)
        beside.rename(self.folder / name)


def channel(
    port: int, tls: TLS | None, *options: tuple[str, int], credentials: grpc.ChannelCredentials | None = None
) -> grpc.Channel:
    """Open a channel to a port of this machine that shares its connection with no other.

    ``credentials``: such as were read before; None: what the files hold now.
    """
    all_options = [("grpc.use_local_subchannel_pool", 1), *options]
    if tls is None:
        return grpc.insecure_channel(f"{LOOPBACK}:{port}", options=all_options)
    named = [*all_options, ("grpc.ssl_target_name_override", tls.server_name)]
    return grpc.secure_channel(f"{LOOPBACK}:{port}", credentials or tls.credentials(), options=named)
