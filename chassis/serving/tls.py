"""TLS for the server's port; certificates are read again when their files change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import grpc

from chassis.logs import logging
from chassis.settings import ServerSettings, WrongSetting, unreadable

_FILES: Final = ("tls_cert_file", "tls_key_file", "tls_client_ca_file", "peer_tls_ca_file")
_AUTHORITIES: Final = ("tls_client_ca_file", "peer_tls_ca_file")


def check_files(settings: ServerSettings) -> None:
    """Raise WrongSetting where a file that a server uses cannot be read, or is not what its setting says.

    Commands that serve nobody do without these files, so it is no matter of reading the settings.
    """
    for name in _FILES:
        path = getattr(settings, name)
        if path is not None and (why := unreadable(path)):
            raise WrongSetting(f"{name.upper()}: {why}")
    for name in _AUTHORITIES:
        if (path := getattr(settings, name)) is not None:
            _check_authority(name.upper(), path)
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        _check_pair(settings.tls_cert_file, settings.tls_key_file)


def _check_authority(variable: str, path: Path) -> None:
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise WrongSetting(f"{variable}: there is no certificate (PEM) in the file") from None


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        # Without a password: gRPC takes none, and Python would ask for one at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=str)
    except ssl.SSLError:
        rule = "a certificate and its key, in PEM and without a password"
        raise WrongSetting(f"TLS_CERT_FILE and TLS_KEY_FILE must name {rule}") from None


def server_credentials(settings: ServerSettings) -> Callable[[], grpc.ServerCredentials] | None:
    """Return a function that makes credentials, one for each listener, from the settings; None for plain text.

    Raises OSError when a file cannot be read. Later failures keep the last good pair, also for listeners made then.
    """
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    authority = settings.tls_client_ca_file
    files = _CertificateFiles((settings.tls_cert_file, settings.tls_key_file, authority))
    return lambda: grpc.dynamic_ssl_server_credentials(
        files.newest, _Fetcher(files), require_client_authentication=authority is not None
    )


class _CertificateFiles:
    """The newest certificate that could be read, asked for at every handshake: one for all listeners."""

    def __init__(self, files: tuple[Path, Path, Path | None]) -> None:
        self._files = files
        self._stamp = self._mtimes()
        # Handshakes are made in gRPC's own threads.
        self._lock = threading.Lock()
        self.newest = self._load()

    def refresh(self) -> Any:
        """Return the newest configuration, read again if a file changed."""
        with self._lock:
            try:
                if (stamp := self._mtimes()) != self._stamp:
                    self.newest = self._load()
                    self._stamp = stamp
            except OSError as error:
                logging.get("chassis.serving.tls").warning("certificate not read again", exc_info=error)
            return self.newest

    def _load(self) -> Any:
        certificate, key, authority = self._files
        return grpc.ssl_server_certificate_configuration(
            [(key.read_bytes(), certificate.read_bytes())],
            root_certificates=None if authority is None else authority.read_bytes(),
        )

    def _mtimes(self) -> tuple[int, ...]:
        return tuple(file.stat().st_mtime_ns for file in self._files if file is not None)


class _Fetcher:
    """Gives each new configuration to one listener once, and None otherwise: then gRPC keeps the last one."""

    def __init__(self, files: _CertificateFiles) -> None:
        self._files = files
        self._told = files.newest

    def __call__(self) -> Any:
        newest = self._files.refresh()
        if newest is self._told:
            return None
        self._told = newest
        return newest


def channel_credentials(authority: Path, certificate: Path | None, key: Path | None) -> grpc.ChannelCredentials:
    """Return client credentials: the authority to trust and, for mutual TLS, our own pair."""
    return grpc.ssl_channel_credentials(
        root_certificates=authority.read_bytes(),
        private_key=None if key is None else key.read_bytes(),
        certificate_chain=None if certificate is None else certificate.read_bytes(),
    )
