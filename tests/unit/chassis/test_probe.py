"""The health check for containers, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis import probe

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
