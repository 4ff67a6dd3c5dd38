"""TLS for the server's port; certificates are read again when their files change."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import grpc
from vibework.client import TLS

from chassis.access.files import stamp_of
from chassis.logs import logging
from chassis.settings import ServerSettings, WrongSetting, unreadable

_FILES: Final = ("tls_cert_file", "tls_key_file", "tls_client_ca_file", "peer_tls_ca_file", "peer_token_file")
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
        self._stamp = _stamp(files)
        # Handshakes are made in gRPC's own threads.
        self._lock = threading.Lock()
        self.newest = self._load()

    def refresh(self) -> Any:
        """Return the newest configuration, read again if a file changed."""
        with self._lock:
            if (stamp := _stamp(self._files)) != self._stamp:
                self._stamp = stamp
                with _kept():
                    self.newest = self._load()
            return self.newest

    def _load(self) -> Any:
        certificate, key, authority = self._files
        pair = (key.read_bytes(), certificate.read_bytes())
        _check_together(certificate, key)
        trusted = None if authority is None else authority.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=trusted)


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


class ClientFiles:
    """What a client trusts and, for mutual TLS, shows: an authority, and a certificate with its key.

    Raises OSError where a file cannot be read, and ssl.SSLError where certificate and key do not fit.
    """

    def __init__(self, authority: Path, certificate: Path | None, key: Path | None) -> None:
        self._files = (authority, certificate, key)
        self._stamp = _stamp(self._files)
        self.credentials = self._load()

    def renewed(self) -> bool:
        """Read the files again if they have changed, and say whether there are new credentials.

        What cannot be used is told, and leaves the last ones.
        """
        if (stamp := _stamp(self._files)) == self._stamp:
            return False
        self._stamp, before = stamp, self.credentials
        with _kept():
            self.credentials = self._load()
        return self.credentials is not before

    def _load(self) -> grpc.ChannelCredentials:
        authority, certificate, key = self._files
        return TLS(authority, certificate, key).credentials()


def _check_together(certificate: Path | None, key: Path | None) -> None:
    """Raise ssl.SSLError, an OSError, unless a certificate and a key fit: of a renewal one may be there first."""
    if certificate is not None and key is not None:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=str)


def _stamp(files: tuple[Path | None, ...]) -> object:
    """Return what differs once one of the files was written; None while one is not there."""
    with suppress(OSError):
        return tuple(stamp_of(file) for file in files if file is not None)
    return None


@contextmanager
def _kept() -> Iterator[None]:
    """Tell a failure to read files that have changed, once; what was read last stays in use."""
    try:
        yield
    except OSError as error:
        logging.get("chassis.serving.tls").warning("certificate not read again", exc_info=error)
