"""Words for handshakes that failed, from the texts that Python's own TLS gives."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from pymongo.errors import AutoReconnect, NetworkTimeout, ServerSelectionTimeoutError

from chassis.pooling.handshakes import handshake_problem
from script.local.certificates import Authority


def failure(client: ssl.SSLContext, server: ssl.SSLContext | None, host: str) -> ssl.SSLError:
    """Return what a handshake of these two ends with, or with something that is no TLS."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    asking = client.wrap_bio(to_client, to_server, server_hostname=host)
    answering = None if server is None else server.wrap_bio(to_server, to_client, server_side=True)
    if answering is None:
        to_client.write(b"\x4a\x00\x00\x00\x0a5.5.5-10.11\x00")
    for _ in range(10):
        for end in filter(None, (asking, answering)):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return error
    raise AssertionError("the handshake came to no end, or to a good one")


@pytest.mark.parametrize(
    ("host", "trusted", "speaks_tls", "expected"),
    [
        ("db.example", False, True, "the server's certificate does not hold (self-signed certificate in certificate"),
        ("other.example", True, True, "the server's certificate is for another host"),
        ("127.0.0.1", True, True, "the server's certificate is for another host"),
        ("db.example", True, False, "the server speaks no TLS, or none that fits"),
    ],
)
def test_the_words_say_what_is_wrong(
    host: str, expected: str, tmp_path: Path, *, trusted: bool, speaks_tls: bool
) -> None:
    """Also where a driver has put its own words around; no name is repeated."""
    authority = Authority.new("databases")
    pair = authority.issue("database", ["db.example"])
    (tmp_path / "certificate").write_bytes(pair.certificate + authority.certificate)
    (tmp_path / "key").write_bytes(pair.key)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    believed = authority if trusted else Authority.new("others")
    client = ssl.create_default_context(cadata=believed.certificate.decode())
    error = failure(client, server if speaks_tls else None, host)
    for told in (error, OSError(2003, f"cannot connect to {host}:1 ({error})"), Exception(f"failed: {error}, Timeout")):
        assert handshake_problem(told).startswith(expected)
        assert host not in handshake_problem(told)


def test_a_handshake_that_the_server_ends_may_be_with_one_without_tls() -> None:
    """So do servers of MongoDB without TLS; one that ends a connection later is only away."""
    text = "db.example:27017: [SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)"
    assert "it may have no TLS" in handshake_problem(Exception(f"SSL handshake failed: {text}"))
    assert handshake_problem(Exception(text)) == ""
    reset = "db.example:27017: [Errno 104] Connection reset by peer"
    assert "it may have no TLS" in handshake_problem(Exception(f"SSL handshake failed: {reset}"))
    assert handshake_problem(Exception(reset)) == ""


@pytest.mark.parametrize("rest", ["", "  (configured timeouts: connectTimeoutMS: 2000.0ms)", " , Timeout: 2.0s"])
def test_a_handshake_that_ended_without_words_was_ended_by_the_server(rest: str) -> None:
    """So asyncio tells it to a driver, which has nothing to put after the address; one that took too long is not."""
    text = f"SSL handshake failed: db.example:27017:{rest}"
    assert "it may have no TLS" in handshake_problem(AutoReconnect(text))
    assert handshake_problem(NetworkTimeout(text)) == ""
    assert handshake_problem(ServerSelectionTimeoutError(f"{text}, servers: [error={NetworkTimeout(text)!r}]")) == ""


@pytest.mark.parametrize(
    "error", [OSError("[Errno 111] Connection refused"), TimeoutError(), ssl.SSLEOFError(8, "EOF")]
)
def test_what_says_nothing_of_tls_gets_no_words(error: Exception) -> None:
    """A server that is away, or ends a connection, has no wrong certificate."""
    assert handshake_problem(error) == ""
