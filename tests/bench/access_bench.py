"""What asking callers costs: processor time of a server for each call, by what becomes of the call.

``python -m tests.bench.access_bench [CALLS]``. A server runs in a process of its own and answers ValidateSession
without a database. ``bare`` is gRPC's own server with a handler that returns; ``open`` is ours without a policy, and
``header`` the same where calls bring a token that nobody looks at; ``unknown`` is ours with a policy where they bring
none. Each kind is measured in rounds that take turns, and the median counts, since the machine is not idle.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Final

import grpc
import uvloop
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.logs import logging
from chassis.serving.server import build_server
from chassis.settings import ServerSettings
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set

METHOD: Final = "/vibework.users.v1.SessionService/ValidateSession"
REQUEST: Final = pb.ValidateSessionRequest(session_token="a" * 43).SerializeToString()
ROUNDS: Final = 5
AT_ONCE: Final = 32
# What becomes of a call under each kind, and the policy's rule.
KINDS: Final = {
    "bare": "",
    "open": "",
    "header": "",
    "allowed": 'rpcs = ["sign-in"]',
    "denied": 'rpcs = ["unsubscribe"]',
    "limited": 'rpcs = ["sign-in"]\ncalls_per_second = 0.0001\nburst = 1',
    "unknown": 'rpcs = ["sign-in"]',
}


class Sessions(pb_grpc.SessionServiceServicer):
    """Finds every session valid."""

    async def ValidateSession(self, _: Any, __: Any) -> Any:
        """Answer at once."""
        return pb.ValidateSessionResponse()


async def _bare() -> tuple[Any, int]:
    async def answer(_: Any, __: Any) -> bytes:
        return b""

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"ValidateSession": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(METHOD.split("/")[1], handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def _ours(folder: Path, kind: str) -> tuple[Any, int]:
    values: dict[str, Any] = {"log_level": "error"}
    if KINDS[kind]:
        (folder / "policy.toml").write_text(f'[[rules]]\ncallers = ["jwt:*"]\n{KINDS[kind]}\n')
        values |= {"access_policy_file": folder / "policy.toml", "jwks_file": folder / "jwks.json"}
        values |= {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE}

    async def probe() -> None:
        return

    servicer: Any = Sessions()  # type: ignore[abstract]
    services = [(pb_grpc.add_SessionServiceServicer_to_server, servicer)]
    server = build_server(ServerSettings(**values), services, probe=probe)
    await server.start()
    return server, server.port


async def _serve(folder: Path, kind: str) -> None:
    """Serve; say the port, then the processor time so far for each line that comes in."""
    server, port = await (_bare() if kind == "bare" else _ours(folder, kind))
    _say(port)
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        _say(time.process_time())
    await server.stop(0)


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


class Served:
    """A server process, and calls to it."""

    def __init__(self, folder: Path, kind: str, token: str) -> None:
        command = [sys.executable, "-m", "tests.bench.access_bench", "--serve", str(folder), kind]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._port = int(self._read())
        self._metadata = (("authorization", f"Bearer {token}"),) if kind not in ("bare", "open", "unknown") else ()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _processor_time(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._read())

    async def microseconds(self, calls: int) -> float:
        """Return the processor time of one call."""
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self._port}") as channel:
            method: Any = channel.unary_unary(METHOD)
            await self._call(method, AT_ONCE)
            before = self._processor_time()
            await asyncio.gather(*(self._call(method, calls // AT_ONCE) for _ in range(AT_ONCE)))
            return (self._processor_time() - before) / (calls // AT_ONCE * AT_ONCE) * 1e6

    async def _call(self, method: Any, calls: int) -> None:
        for _ in range(calls):
            try:
                await method(REQUEST, metadata=self._metadata)
            except grpc.aio.AioRpcError:
                continue

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


async def measured(calls: int) -> dict[str, float]:
    """Return the median of the rounds of each kind, in microseconds of processor time for a call."""
    with tempfile.TemporaryDirectory() as name:
        folder, issuer = Path(name), Issuer()
        (folder / "jwks.json").write_bytes(key_set(issuer))
        served = {kind: Served(folder, kind, issuer.token("system:serviceaccount:web:web")) for kind in KINDS}
        try:
            rounds: list[dict[str, float]] = [
                {kind: await each.microseconds(calls) for kind, each in served.items()} for _ in range(ROUNDS)
            ]
        finally:
            for each in served.values():
                each.end()
    return {kind: round(median(found[kind] for found in rounds), 1) for kind in KINDS}


def main() -> None:
    """Serve, or measure and print."""
    if sys.argv[1:2] == ["--serve"]:
        # As a server does: without it structlog writes to stdout, where the port is told.
        logging.configure("error", "json")
        uvloop.run(_serve(Path(sys.argv[2]), sys.argv[3]))
        return
    _say(json.dumps(asyncio.run(measured(int(sys.argv[1]) if sys.argv[1:] else 5_000)), indent=2))


if __name__ == "__main__":
    main()
