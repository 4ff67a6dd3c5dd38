"""The health check for containers, against a real server."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis import probe
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Serve

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def servicer() -> health.HealthServicer:
    """The health of the server that is asked."""
    return health.HealthServicer()


@pytest.fixture
def address(servicer: health.HealthServicer) -> Iterator[str]:
    """The address of a server with nothing but health."""
    server = grpc.server(futures.ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_exit_code_follows_the_status(
    address: str, servicer: health.HealthServicer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container is healthy while its server says SERVING, and only then."""
    servicer.set("", SERVING)
    assert probe.main([address]) == 0
    servicer.set("", NOT_SERVING)
    assert probe.main([address]) == 1
    assert capsys.readouterr().out.split() == ["SERVING", "NOT_SERVING"]


def test_one_service_can_be_asked_for(address: str, servicer: health.HealthServicer) -> None:
    """The status of a service counts, not that of the server."""
    servicer.set("", SERVING)
    servicer.set("a.Service", NOT_SERVING)
    assert probe.main([address, "--service", "a.Service"]) == 1
    assert probe.main([address, "--service", "unknown.Service"]) == 1


def test_nobody_listening_is_not_healthy(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that is gone fails the check at once, at the port of the settings."""
    monkeypatch.setenv("GRPC_PORT", "1")
    assert probe.main([]) == 1
    assert capsys.readouterr().out == "UNAVAILABLE\n"


@dataclass
class Issued:
    """A certificate with its key, and the files that hold them."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path
    key_file: Path


def issue(folder: Path, name: str, alternative: x509.GeneralName | None = None, by: Issued | None = None) -> Issued:
    """Make a certificate for ``alternative``, signed ``by`` an authority; without either it is an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if by is None else by.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=alternative is None, path_length=None), critical=True)
    )
    if alternative is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
    issued = Issued(
        builder.sign(key if by is None else by.key, hashes.SHA256()),
        key,
        folder / f"{name}.pem",
        folder / f"{name}.key",
    )
    issued.file.write_bytes(issued.certificate.public_bytes(serialization.Encoding.PEM))
    issued.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return issued


NAMES = [
    x509.DNSName("users.vibework.svc"),
    x509.DNSName("*.vibework.svc"),
    x509.IPAddress(ip_address("127.0.0.1")),
    x509.IPAddress(ip_address("10.1.2.3")),
]


async def _probed(address: str, **settings: Path) -> tuple[int, str]:
    """Run the probe as a container does; return its exit code and what it says."""
    variables = {name.upper(): str(value) for name, value in settings.items()}
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "chassis.probe", address, "--timeout", "20"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("signed", ["by an authority", "by itself"])
@pytest.mark.parametrize("name", NAMES, ids=str)
async def test_the_service_s_own_settings_are_enough(
    serve: Serve, tmp_path: Path, name: x509.GeneralName, signed: str
) -> None:
    """With TLS and with mutual TLS, whoever signed the server's certificate and whatever it is issued for."""
    authority = issue(tmp_path, "authority") if signed == "by an authority" else None
    own = issue(tmp_path, "server", name, by=authority)
    settings = {"tls_cert_file": own.file, "tls_key_file": own.key_file}
    mutual = {**settings, "tls_client_ca_file": (authority or own).file}
    for each in (settings, mutual):
        running = await serve(**each)
        trust = probe.Trust(own.file, probe._name_in(own.file), own.file, own.key_file)
        assert await asyncio.to_thread(probe.probe, running.server.address, "", 20.0, trust) == "SERVING"


async def test_mutual_tls_is_read_from_the_environment(serve: Serve, tmp_path: Path) -> None:
    """The command of the image's HEALTHCHECK, as it stands; a pair of its own where the service's is not taken."""
    authority, clients = issue(tmp_path, "authority"), issue(tmp_path, "clients")
    own = issue(tmp_path, "server", NAMES[0], by=authority)
    shown = issue(tmp_path, "probe", NAMES[0], by=clients)
    settings = {"tls_cert_file": own.file, "tls_key_file": own.key_file, "tls_client_ca_file": clients.file}
    address = (await serve(**settings)).server.address
    assert await _probed(address, **settings) == (1, "UNAVAILABLE")
    pair = {"probe_tls_cert_file": shown.file, "probe_tls_key_file": shown.key_file}
    assert await _probed(address, **settings, **pair) == (0, "SERVING")


async def test_another_server_with_the_same_name_is_not_ours(serve: Serve, tmp_path: Path) -> None:
    """A certificate of somebody else is no health of this service, even for the same name."""
    own, other = (issue(tmp_path, name, NAMES[0]) for name in ("server", "other"))
    address = (await serve(tls_cert_file=other.file, tls_key_file=other.key_file)).server.address
    assert await _probed(address, tls_cert_file=own.file, tls_key_file=own.key_file) == (1, "UNAVAILABLE")
