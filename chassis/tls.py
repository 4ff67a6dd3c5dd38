"""TLS for the server's port; certificates are read again when their files change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from chassis import logging
from chassis.settings import ServerSettings


def server_credentials(settings: ServerSettings) -> grpc.ServerCredentials | None:
    """Return the credentials named by the settings, or None for plain text.

    Raises OSError when a file cannot be read. Later failures keep the last good pair.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    files = (settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
    source = _CertificateFiles(files)
    return grpc.dynamic_ssl_server_credentials(
        source.load(), source.fetch, require_client_authentication=files[2] is not None
    )


class _CertificateFiles:
    """Gives gRPC the certificate at every handshake, from memory while the files are unchanged."""

    def __init__(self, files: tuple[Path, Path, Path | None]) -> None:
        self._files = files
        self._stamp: tuple[int, ...] = ()

    def load(self) -> Any:
        stamp = self._mtimes()
        certificate, key, authority = self._files
        configuration = grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=None if authority is None else authority.read_bytes(),
        )
        self._stamp = stamp
        return configuration

    def fetch(self) -> Any:
        """Return a new configuration when a file changed, else None (gRPC keeps the last one)."""
        try:
            return self.load() if self._mtimes() != self._stamp else None
        except OSError as error:
            logging.get("chassis.tls").warning("certificate not read again", exc_info=error)
            return None

    def _mtimes(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files if file is not None)


def channel_credentials(authority: Path, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    """Return client credentials: the authority to trust and, for mutual TLS, our own pair."""
    return grpc.ssl_channel_credentials(
        root_certificates=authority.read_bytes(),
        private_key=None if key is None else key.read_bytes(),
        certificate_chain=None if certificate is None else certificate.read_bytes(),
    )
