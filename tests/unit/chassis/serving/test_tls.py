"""TLS: a real handshake, mutual TLS, and certificates that change while the server runs."""

from __future__ import annotations

import asyncio
import os
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.peers.clients import open_channel, open_peer_channel
from chassis.serving import listeners
from chassis.settings import ServerSettings
from tests.harness.patience import PATIENCE_SECONDS
from tests.unit.chassis.conftest import Log, Serve
from tests.unit.chassis.deaths import die_at_the_next_call


@dataclass
class Pair:
    """A self-signed certificate, which is its own authority, and its key."""

    certificate: Path
    key: Path


def _make(folder: Path, name: str) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pair = Pair(folder / f"{name}.pem", folder / f"{name}.key")
    pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pair.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pair


async def _call(address: str, authority: Path, own: Pair | None = None) -> grpc.StatusCode:
    pair = (None, None) if own is None else (own.certificate, own.key)
    async with open_channel(address, authority=authority, certificate=pair[0], key=pair[1]) as channel:
        call = pb_grpc.SessionServiceStub(channel).ValidateSession(
            pb.ValidateSessionRequest(session_token="a" * 43), timeout=PATIENCE_SECONDS
        )
        return await call.code()


async def test_a_caller_that_trusts_the_authority_gets_through(serve: Serve, tmp_path: Path) -> None:
    """TLS works end to end, and a server that nobody vouches for is refused."""
    server, other = _make(tmp_path, "server"), _make(tmp_path, "other")
    running = await serve(tls_cert_file=server.certificate, tls_key_file=server.key)
    assert await _call(running.server.address, server.certificate) is grpc.StatusCode.OK
    assert await _call(running.server.address, other.certificate) is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls_refuses_callers_without_a_certificate(serve: Serve, tmp_path: Path) -> None:
    """With a client authority set, only callers that it signed get through."""
    server, client, other = (_make(tmp_path, name) for name in ("server", "client", "other"))
    running = await serve(
        tls_cert_file=server.certificate, tls_key_file=server.key, tls_client_ca_file=client.certificate
    )
    address = running.server.address
    assert await _call(address, server.certificate, client) is grpc.StatusCode.OK
    assert await _call(address, server.certificate) is grpc.StatusCode.UNAVAILABLE
    assert await _call(address, server.certificate, other) is grpc.StatusCode.UNAVAILABLE


async def test_one_service_calls_the_other_with_its_own_certificate(serve: Serve, tmp_path: Path) -> None:
    """With PEER_TLS_CA_FILE the pair talks over mutual TLS; without it, in plain text, which such a server refuses."""
    server, client = (_make(tmp_path, name) for name in ("server", "client"))
    running = await serve(
        tls_cert_file=server.certificate, tls_key_file=server.key, tls_client_ca_file=client.certificate
    )
    for authority, code in ((server.certificate, grpc.StatusCode.OK), (None, grpc.StatusCode.UNAVAILABLE)):
        settings = ServerSettings(tls_cert_file=client.certificate, tls_key_file=client.key, peer_tls_ca_file=authority)
        async with open_peer_channel(settings, running.server.address) as channel:
            request = pb.ValidateSessionRequest(session_token="a" * 43)
            assert (
                await pb_grpc.SessionServiceStub(channel).ValidateSession(request, timeout=PATIENCE_SECONDS).code()
                is code
            )


async def test_a_renewed_certificate_is_used_without_a_restart(serve: Serve, tmp_path: Path) -> None:
    """New handshakes get the new pair; a broken renewal keeps the last good one."""
    old, new = _make(tmp_path, "old"), _make(tmp_path, "new")
    current = Pair(tmp_path / "tls.pem", tmp_path / "tls.key")
    _install(old, current, 1)
    running = await serve(tls_cert_file=current.certificate, tls_key_file=current.key)
    assert await _call(running.server.address, old.certificate) is grpc.StatusCode.OK
    _install(new, current, 2)
    assert await _call(running.server.address, new.certificate) is grpc.StatusCode.OK
    current.key.unlink()
    assert await _call(running.server.address, new.certificate) is grpc.StatusCode.OK


def _install(source: Pair, target: Pair, second: int) -> None:
    for read, write in ((source.certificate, target.certificate), (source.key, target.key)):
        write.write_bytes(read.read_bytes())
        os.utime(write, (second, second))


async def test_a_listener_that_took_the_place_of_another_speaks_tls(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the newest certificate, also where its files have become unreadable, and hears of the next one."""
    old, new, newest = (_make(tmp_path, name) for name in ("old", "new", "newest"))
    current = Pair(tmp_path / "tls.pem", tmp_path / "tls.key")
    _install(old, current, 1)
    # So few that a handful of deaths and calls meets each of them.
    monkeypatch.setattr(listeners, "LISTENERS", 2)
    running = await serve(tls_cert_file=current.certificate, tls_key_file=current.key)
    _install(new, current, 2)
    assert await _call(running.server.address, new.certificate) is grpc.StatusCode.OK
    current.key.unlink()
    for deaths in range(1, 6):
        die_at_the_next_call()
        await _call(running.server.address, new.certificate)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while running.server.listener_restarts < deaths:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
    for _ in range(5):
        assert await _call(running.server.address, new.certificate) is grpc.StatusCode.OK
    _install(newest, current, 3)
    for _ in range(5):
        assert await _call(running.server.address, newest.certificate) is grpc.StatusCode.OK


async def test_a_certificate_that_cannot_be_read_stops_the_start(serve: Serve, tmp_path: Path) -> None:
    """A wrong path is told at the start and not at the first handshake."""
    with pytest.raises(FileNotFoundError, match=r"nothing\.pem|nothing\.key"):
        await serve(tls_cert_file=tmp_path / "nothing.pem", tls_key_file=tmp_path / "nothing.key")


async def test_half_a_renewal_leaves_the_last_pair_and_is_told(serve: Serve, tmp_path: Path, log: Log) -> None:
    """A certificate that came before its key is not used with the old one; it is told once."""
    old, new = _make(tmp_path, "old"), _make(tmp_path, "new")
    current = Pair(tmp_path / "tls.pem", tmp_path / "tls.key")
    _install(old, current, 1)
    running = await serve(tls_cert_file=current.certificate, tls_key_file=current.key)
    current.certificate.write_bytes(new.certificate.read_bytes())
    os.utime(current.certificate, (2, 2))
    for _ in range(2):
        assert await _call(running.server.address, old.certificate) is grpc.StatusCode.OK
    assert len([line for line in log.lines if line["event"] == "certificate not read again"]) == 1
    _install(new, current, 3)
    assert await _call(running.server.address, new.certificate) is grpc.StatusCode.OK


@pytest.mark.parametrize(("version", "is_taken"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_nothing_older_than_tls_1_2_is_spoken(serve: Serve, tmp_path: Path, version: str, is_taken: bool) -> None:
    """TLS 1.1 is broken (RFC 8996); a client that speaks nothing newer is refused in the handshake."""
    server = _make(tmp_path, "server")
    running = await serve(tls_cert_file=server.certificate, tls_key_file=server.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # OpenSSL itself speaks 1.1 on its lowest level of security alone.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.set_alpn_protocols(["h2"])
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
    host, _, port = running.server.address.rpartition(":")
    if not is_taken:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.open_connection(host, int(port), ssl=context)
        return
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    assert writer.get_extra_info("ssl_object").version() == version.replace("_", ".")
    writer.close()
