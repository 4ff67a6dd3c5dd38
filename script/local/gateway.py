"""`script/gateway`: Envoy in front of the services of a running script/server, until Ctrl-C."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from vibework.testing.local import ports
from vibework.testing.local.problems import LocalProblem

from deploy.envoy.configure import CONFIGURATION, Certificates, Gateway
from script.local import certs, services
from script.local.server import LOCAL

CALLER = "gateway"


def main(arguments: Sequence[str] | None = None) -> int:
    """Become Envoy; return the exit code where something stands in the way."""
    parser = argparse.ArgumentParser(prog="script/gateway", description=__doc__)
    parser.add_argument("--port", type=int, default=int(os.environ.get("GATEWAY_PORT") or 8080), help="default: 8080")
    parser.add_argument("--origin", action="append", default=[], help="of a page that may call; may be given again")
    parser.add_argument("--directory", type=Path, default=LOCAL, help="that of script/server; default: .local")
    parser.add_argument("--envoy", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    folder = options.directory.resolve()
    try:
        gateway = _gateway(folder, options.port, options.origin)
    except LocalProblem as problem:
        print(f"gateway: {problem}", file=sys.stderr)
        return problem.exit_code
    gateway.write()
    print(f"JSON and gRPC-Web on http://{gateway.listen}; Ctrl-C ends it", flush=True)
    return _become(options.envoy, gateway.folder / CONFIGURATION)


def _become(envoy: Path, configuration: Path) -> NoReturn:
    # One thread, whatever the machine has; and no word with another Envoy on it.
    options = ("--log-level", "warning", "--concurrency", "1", "--disable-hot-restart")
    os.execv(envoy, [str(envoy), "-c", str(configuration), *options])  # noqa: S606 - of our own environment


def _gateway(folder: Path, port: int, origins: Sequence[str]) -> Gateway:
    if ports.is_taken(port):
        raise LocalProblem(f"port {port} is taken: name another one by --port")
    pair = services.read_pair(folder)
    addresses = {service.name: service.address for service in pair}
    certificates = _certificates(folder) if any("TLS_CERT_FILE" in service.settings for service in pair) else None
    return Gateway(folder / "gateway", f"{ports.LOOPBACK}:{port}", addresses, origins, certificates=certificates)


def _certificates(folder: Path) -> Certificates:
    made = certs.Certificates(folder / "certs")
    if not made.certificate(CALLER).exists():
        raise LocalProblem("the services have certificates that are not of script/server --tls")
    names = {name: certs.NAMES[name][0] for name in services.SETTINGS}
    return Certificates(str(made.authority), str(made.certificate(CALLER)), str(made.key(CALLER)), names)


if __name__ == "__main__":
    sys.exit(main())
