"""A health check from the command line, for containers: ``python -m chassis.probe [ADDRESS]``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

EXIT_SERVING = 0
EXIT_NOT_SERVING = 1


def probe(address: str, service: str, timeout: float, ca_file: Path | None = None) -> str:
    """Return ``SERVING`` or what the server answered instead; "" asks for the server as a whole.

    ``timeout`` is in seconds. With ``ca_file`` the server is reached by TLS and its certificate checked against it.
    """
    with _channel(address, ca_file) as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            # The stubs' types know the asyncio form only.
            response = cast("Any", health_pb2_grpc.HealthStub(channel)).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            return str(error.code().name)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the status; exit 0 when it is SERVING, else 1."""
    parser = argparse.ArgumentParser(prog="python -m chassis.probe", description=__doc__)
    port = os.environ.get("GRPC_PORT") or "50051"
    parser.add_argument("address", nargs="?", default=f"127.0.0.1:{port}", help="default: this host, GRPC_PORT")
    parser.add_argument("--service", default="", help="full name of one service; default: the whole server")
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds; default: 2")
    parser.add_argument("--ca-file", type=Path, help="use TLS and check the server's certificate against this file")
    options = parser.parse_args(arguments)
    status = probe(options.address, options.service, options.timeout, options.ca_file)
    sys.stdout.write(f"{status}\n")
    return EXIT_SERVING if status == "SERVING" else EXIT_NOT_SERVING


def _channel(address: str, ca_file: Path | None) -> grpc.Channel:
    if ca_file is None:
        return grpc.insecure_channel(address)
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca_file.read_bytes()))


if __name__ == "__main__":
    sys.exit(main())
