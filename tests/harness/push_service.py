"""A push service on this machine, over HTTPS, and a browser that reads what it is sent as RFC 8291 says.

Nothing here is code of the service: what it makes is read by the letter of the standards.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from notifications_service.push_subscriptions.model import PushTarget

_POINT: Final = (Encoding.X962, PublicFormat.UncompressedPoint)
_HEADER_BYTES: Final = 86

# Answers a connection itself, in place of a status.
Behaviour = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class PushService:
    """What came, and what is answered: ``answers`` in order, then ``status`` with ``headers``."""

    address: str = ""
    status: int = 201
    headers: dict[str, str] = field(default_factory=dict)
    behaviour: Behaviour | None = None
    received: list[Received] = field(default_factory=list)
    connections: int = 0

    def endpoint(self, name: str) -> str:
        """Return the endpoint of a subscription."""
        return f"https://{self.address}/{name}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its client leaves."""
        self.connections += 1
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await _read(reader)
                self.received.append(request)
                await (self.behaviour or self._answer)(request, writer)
                await writer.drain()
        writer.close()

    async def _answer(self, _: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {self.status} x", *(f"{name}: {value}" for name, value in self.headers.items())]
        writer.write("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(head[0].split(" ")[1], headers, body)


@dataclass
class Browser:
    """A browser with its keys, subscribed at ``endpoint`` with the server's key ``key_id``."""

    endpoint: str
    key_id: str = "k1"
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    auth: bytes = b"sixteen bytes ok"

    @property
    def p256dh(self) -> bytes:
        """Its public key."""
        return self.private.public_key().public_bytes(*_POINT)

    @property
    def target(self) -> PushTarget:
        """The subscription, as the service keeps it."""
        return PushTarget("push_1", self.endpoint, self.p256dh, self.auth, self.key_id)

    def decrypted(self, body: bytes) -> bytes:
        """Read a message as RFC 8291 and RFC 8188 say; raises what is wrong with it."""
        assert len(body) <= 4_096
        salt, size, key_length = body[:16], *struct.unpack("!LB", body[16:21])
        assert (key_length, size >= len(body) - _HEADER_BYTES) == (65, True)
        theirs = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), body[21:_HEADER_BYTES])
        shared = self.private.exchange(ec.ECDH(), theirs)
        info = b"WebPush: info\0" + self.p256dh + body[21:_HEADER_BYTES]
        secret = HKDF(SHA256(), 32, self.auth, info).derive(shared)
        key = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\0").derive(secret)
        nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\0").derive(secret)
        padded = AESGCM(key).decrypt(nonce, body[_HEADER_BYTES:], None).rstrip(b"\0")
        assert padded.endswith(b"\x02"), "the last record"
        return padded[:-1]

    def message(self, received: Received) -> dict[str, Any]:
        """Return the message that its page is given."""
        assert received.headers["content-encoding"] == "aes128gcm"
        message: dict[str, Any] = json.loads(self.decrypted(received.body))
        return message


def vapid_claims(received: Received) -> tuple[dict[str, Any], bytes]:
    """Verify the signature of a request as RFC 8292 says; return its claims and the public key that signed it."""
    scheme, _, parameters = received.headers["authorization"].partition(" ")
    assert scheme == "vapid"
    given = dict(part.strip().split("=", 1) for part in parameters.split(","))
    public = unbase64url(given["k"])
    signed, _, signature = given["t"].rpartition(".")
    header, claims = (json.loads(unbase64url(part)) for part in signed.split("."))
    assert header == {"typ": "JWT", "alg": "ES256"}
    raw = unbase64url(signature)
    assert len(raw) == 64
    der = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public).verify(
        der, signed.encode(), ec.ECDSA(SHA256())
    )
    return claims, public


def unbase64url(text: str) -> bytes:
    """Decode base64url without padding; anything else in it is an error."""
    assert "=" not in text
    return base64.b64decode(text.translate(str.maketrans("-_", "+/")) + "=" * (-len(text) % 4), validate=True)


@dataclass(frozen=True)
class Certificate:
    """A certificate for this machine, and what trusts it."""

    file: Path
    server: ssl.SSLContext
    client: ssl.SSLContext


def certificate(folder: Path, *, ended: bool = False) -> Certificate:
    """Make a certificate for `localhost` and 127.0.0.1; ``ended``: its time is over."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    end = datetime.now(UTC) + (timedelta(days=-1) if ended else timedelta(days=1))
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(end - timedelta(days=2))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    file = folder / "push-service.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return Certificate(file, server, ssl.create_default_context(cafile=str(file)))


@asynccontextmanager
async def push_service(tls: Certificate) -> AsyncIterator[PushService]:
    """Serve on a free port of 127.0.0.1."""
    service = PushService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls.server)
    service.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()
