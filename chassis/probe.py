"""A health check from the command line, for containers: ``python -m chassis.probe [ADDRESS]``.

It reads the TLS settings of the service that it asks. It trusts exactly the server's own certificate (TLS_CERT_FILE),
whoever signed it and whatever names are in it. Where the server demands certificates of its callers
(TLS_CLIENT_CA_FILE), the probe presents PROBE_TLS_CERT_FILE and PROBE_TLS_KEY_FILE, or else the server's own pair.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.serving import ports

EXIT_SERVING = 0
EXIT_NOT_SERVING = 1
# Only where one of these is set are the settings read: without them the server has no TLS.
_TLS_SETTINGS = ("TLS_CERT_FILE", "SECRETS_DIR")
# Who listens everywhere is asked by IPv4, which a loopback interface has whatever the others have.
_ANY_ADDRESS = dict.fromkeys(("", "0.0.0.0", "[::]", "::"), "127.0.0.1")  # noqa: S104


@dataclass(frozen=True)
class Trust:
    """TLS of a probe: the authority to trust, the server's name if it is not its address, and our own certificate."""

    authority: Path
    name: str = ""
    certificate: Path | None = None
    key: Path | None = None


def probe(address: str, service: str, timeout: float, trust: Trust | None = None) -> str:
    """Return ``SERVING`` or what the server answered instead; "" asks for the server as a whole.

    ``timeout`` is in seconds. ``trust``: TLS; None: plain text. Raises OSError where a file cannot be read.
    """
    with _channel(address, trust) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            # The stubs' types know the asyncio form only.
            response = cast("Any", health_pb2_grpc.HealthStub(channel)).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            return str(error.code().name)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status and return the exit code: 0 for SERVING, else 1; 2 where a setting or a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m chassis.probe", description=__doc__)
    parser.add_argument("address", nargs="?", default=_own_address(), help="default: GRPC_PORT of this host")
    parser.add_argument("--service", default="", help="full name of one service; default: the whole server")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds; default: 2")
    parser.add_argument("--ca-file", type=Path, help="use TLS, the server's certificate checked against this file")
    parser.add_argument("--cert-file", type=Path, help="for mutual TLS: the certificate to show; needs --key-file")
    parser.add_argument("--key-file", type=Path, help="its private key")
    options = parser.parse_args(arguments)
    if (options.cert_file is None) != (options.key_file is None):
        parser.error("--cert-file and --key-file go together")
    try:
        status = probe(options.address, options.service, options.timeout, _trust(options))
    except (OSError, ValueError) as error:
        sys.stderr.write(f"cannot ask: {error}\n")
        return 2
    sys.stdout.write(f"{status}\n")
    return EXIT_SERVING if status == "SERVING" else EXIT_NOT_SERVING


def _own_address() -> str:
    host = os.environ.get("GRPC_HOST", "")
    return ports.address(_ANY_ADDRESS.get(host, host), os.environ.get("GRPC_PORT") or "50051")


def _trust(options: argparse.Namespace) -> Trust | None:
    if options.ca_file is not None:
        return Trust(options.ca_file, certificate=options.cert_file, key=options.key_file)
    own = trust_of_settings()
    if own is None or options.cert_file is None:
        return own
    return Trust(own.authority, own.name, options.cert_file, options.key_file)


def trust_of_settings() -> Trust | None:
    """Return the TLS that this environment's settings ask for; None for plain text.

    Ends the process where a setting is wrong. Raises ValueError where a file that one names cannot be read.
    """
    if not any(os.environ.get(name) for name in _TLS_SETTINGS):
        return None
    from chassis.settings import ServerSettings, load, unreadable

    settings = load(ServerSettings)
    if settings.tls_cert_file is None:
        return None
    used = ["tls_cert_file"]
    if settings.tls_client_ca_file is not None or settings.probe_tls_cert_file is not None:
        prefix = "" if settings.probe_tls_cert_file is None else "probe_"
        used += [f"{prefix}tls_cert_file", f"{prefix}tls_key_file"]
    for name in used:
        if why := unreadable(getattr(settings, name)):
            raise ValueError(f"{name.upper()}: {why}")
    pair = [getattr(settings, name) for name in used[1:]] or [None, None]
    return Trust(settings.tls_cert_file, _name_in(settings.tls_cert_file), *pair)


def _name_in(certificate: Path) -> str:
    """Return a name in a certificate: it was issued for the name that callers use, not for the loopback address."""
    from cryptography import x509

    leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = leaf.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(common[0].value) if common else ""
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    return found[0].replace("*", "probe", 1) if found else ""


def _channel(address: str, trust: Trust | None) -> grpc.Channel:
    if trust is None:
        return grpc.insecure_channel(address)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=trust.authority.read_bytes(),
        private_key=None if trust.key is None else trust.key.read_bytes(),
        certificate_chain=None if trust.certificate is None else trust.certificate.read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", trust.name)] if trust.name else []
    return grpc.secure_channel(address, credentials, options)


if __name__ == "__main__":
    sys.exit(main())
