"""The gateway as `script/gateway` runs it, before services under TLS: JSON by curl, and a page in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from aiohttp import web
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import GetUserRequest, GetUserResponse

from script.local.certs import GATEWAY
from tests.e2e.script_server import ROOT, running
from tests.harness.browser import chromium
from tests.harness.envoy import envoy_program
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set
from tests.harness.patience import wait_for

# The first run fetches Envoy.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900), pytest.mark.xdist_group("gateway")]

USERS: Final = "vibework.users.v1.UserService"
FEED: Final = "vibework.notifications.v1.NotificationService"
POLICY: Final = f"""
[[rules]]
callers = ["{GATEWAY}"]
rpcs = ["*"]

[[rules]]
callers = ["jwt:reader"]
rpcs = ["read"]

[[rules]]
callers = ["dns:*"]
rpcs = ["pair", "read"]
"""
ENVIRONMENT: Final = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}


@dataclass(frozen=True)
class Gateway:
    """A gateway that runs, the origin of the one page that it lets in, and an issuer whose tokens services know."""

    address: str
    page_port: int
    issuer: Issuer

    def curl(self, path: str, request: str, *options: str) -> tuple[int, str]:
        """Return status and body of a POST by curl."""
        command = ["curl", "--silent", "--no-buffer", "-d", request, "-w", "\n%{http_code}", *options]
        ended = subprocess.run([*command, f"{self.address}/{path}"], capture_output=True, text=True, check=False)
        body, _, status = ended.stdout.rpartition("\n")
        return int(status), body

    def json(self, path: str, request: dict[str, Any], *options: str) -> tuple[int, dict[str, Any]]:
        """Return status and answer of a call with JSON."""
        status, body = self.curl(path, json.dumps(request), *options)
        return status, json.loads(body)

    def token(self, subject: str) -> tuple[str, str]:
        """Return the options with which curl shows a token."""
        return "-H", f"authorization: Bearer {self.issuer.token(subject)}"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run script/server --tls, under a policy of the test's own, and the gateway before it."""
    if shutil.which("curl") is None:
        pytest.fail("this test needs curl")
    folder, issuer = tmp_path_factory.mktemp("local"), Issuer()
    (folder / "certs").mkdir()
    (folder / "certs" / "policy.toml").write_text(POLICY)
    (folder / "keys.json").write_bytes(key_set(issuer))
    named = {
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWKS_FILE": str(folder / "keys.json"),
        "METRICS_PORT": "0",
    }
    with running(folder, free_port(), free_port(), named, "--tls") as server:
        server.wait_until_ready()
        page = free_port()
        with envoy(folder, f"http://{LOOPBACK}:{page}") as address:
            yield Gateway(address, page, issuer)


@contextmanager
def envoy(folder: Path, origin: str) -> Iterator[str]:
    """Run what script/gateway runs once its environments are there; yield its address."""
    port = free_port()
    command = [sys.executable, "-m", "script.local.gateway", "--envoy", str(envoy_program()), "--port", str(port)]
    command += ["--directory", str(folder), "--origin", origin]
    address = f"http://{LOOPBACK}:{port}"
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT) as process:
        try:
            wait_for(lambda: _is_ready(address), "the gateway")
            yield address
        finally:
            process.terminate()


def _is_ready(address: str) -> bool:
    return subprocess.run(["curl", "--silent", "--fail", f"{address}/readyz"], check=False).returncode == 0


def test_json_goes_in_and_comes_out(gateway: Gateway) -> None:
    """A person with curl creates a user and reads it; names are in either spelling."""
    status, created = gateway.json(f"{USERS}/CreateUser", {"email": "ada@example.com", "name": "Ada"})
    assert status == 200
    request = {"ids": [created["user"]["id"]], "read_mask": "name"}
    assert gateway.json(f"{USERS}/BatchGetUsers", request)[1]["users"][0]["name"] == "Ada"


def test_errors_are_statuses_in_json(gateway: Gateway) -> None:
    """With their details, the request id that the caller gave, and a message in the caller's language."""
    told = ("-H", "accept-language: pt-BR", "-H", "x-request-id: by-curl")
    status, error = gateway.json(f"{USERS}/CreateUser", {"email": "ada"}, *told)
    details = {detail["@type"].rpartition(".")[2]: detail for detail in error["details"]}
    assert (status, error["code"]) == (400, 3)
    assert details["ErrorInfo"]["reason"] == "INVALID_FIELDS"
    assert details["BadRequest"]["fieldViolations"][0]["field"] == "email"
    assert details["RequestInfo"]["requestId"] == "by-curl"
    assert details["LocalizedMessage"]["locale"] == "pt-BR"


@pytest.mark.parametrize(
    ("path", "request_", "status", "code"),
    [
        (f"{USERS}/GetUser", '{"id": ', 400, 3),
        (f"{USERS}/GetUser", '{"id": 7.5e', 400, 3),
        (f"{USERS}/TakeOver", "{}", 404, 12),
        ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "{}", 404, 12),
    ],
)
def test_what_no_service_sees_is_a_status_too(
    gateway: Gateway, path: str, request_: str, status: int, code: int
) -> None:
    """What the gateway refuses by itself has the same form."""
    answered, body = gateway.curl(path, request_)
    assert (answered, json.loads(body)["code"]) == (status, code)


def test_the_policy_of_callers_judges(gateway: Gateway) -> None:
    """A caller's token goes along and decides; without one the gateway is a caller by its certificate."""
    assert gateway.json(f"{USERS}/CountUsers", {}, *gateway.token("reader"))[0] == 200
    status, error = gateway.json(f"{USERS}/CreateUser", {"email": "eve@example.com"}, *gateway.token("reader"))
    assert (status, error["details"][0]["reason"]) == (403, "CALLER_FORBIDDEN")
    assert error["details"][0]["metadata"]["caller"] == "jwt:reader"
    status, error = gateway.json(f"{USERS}/CountUsers", {}, "-H", "authorization: Bearer made-up")
    assert (status, error["details"][0]["reason"]) == (401, "CALLER_UNKNOWN")
    assert gateway.json(f"{USERS}/CountUsers", {})[0] == 200


def test_a_watch_streams_a_line_for_each_event(gateway: Gateway) -> None:
    """They come as they happen, and go on until the caller leaves."""
    request = json.dumps({"userId": "nobody", "snapshot": {}, "heartbeatInterval": "1s"})
    _, body = gateway.curl(f"{FEED}/WatchNotifications", request, "--max-time", "4")
    events = [json.loads(line) for line in body.splitlines() if line]
    assert [event for event in events if "snapshotEnd" in event]
    assert len([event for event in events if "heartbeat" in event]) > 1


def test_health_is_told_of_both_and_of_each(gateway: Gateway) -> None:
    """For whoever waits until there is something to call."""
    for path in ("readyz", "readyz/users", "readyz/notifications"):
        assert subprocess.run(["curl", "--silent", "--fail", f"{gateway.address}/{path}"], check=False).returncode == 0


@pytest.mark.parametrize("header", ["origin: http://stranger.example", "origin: null", "host: stranger.example"])
def test_pages_of_strangers_are_refused(gateway: Gateway, header: str) -> None:
    """Also with a request that a browser sends without asking, and under a name that has been bent to this machine."""
    status, _ = gateway.curl(f"{USERS}/CountUsers", "{}", "-H", header, "-H", "content-type: text/plain")
    assert status == (403 if header.startswith("origin") else 404)


@asynccontextmanager
async def served(port: int) -> AsyncIterator[None]:
    """Serve an empty page."""
    application = web.Application()

    async def empty(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>page</title>", content_type="text/html")

    application.router.add_get("/", empty)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, port=port).start()
    try:
        yield
    finally:
        await runner.cleanup()


CALLS: Final = """
globalThis.call = async (path, body, type) => {
  const answer = await fetch(GATEWAY + path, {method: "POST", headers: {"content-type": type}, body});
  const headers = [...answer.headers].map((header) => header.join(":")).join("\\n");
  return [answer.status, [...new Uint8Array(await answer.arrayBuffer())], headers];
};
globalThis.lines = async (path, body, count) => {
  const leave = new AbortController();
  const options = {method: "POST", headers: {"content-type": "application/json"}, body, signal: leave.signal};
  const reader = (await fetch(GATEWAY + path, options)).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (text.split("\\n").length <= count) text += (await reader.read()).value;
  leave.abort();
  return text.split("\\n").slice(0, count);
};
"""


async def test_a_page_calls_in_json_and_in_grpc_web(gateway: Gateway) -> None:
    """In a real browser, from the origin that was named: a call, an error, a stream, and gRPC-Web with its trailers."""
    async with served(gateway.page_port), chromium() as page:
        await page.open(f"http://{LOOPBACK}:{gateway.page_port}/")
        await page.run(f"globalThis.GATEWAY = '{gateway.address}/'; {CALLS}")
        status, body, _ = await page.run(f"call('{USERS}/CountUsers', '{{}}', 'application/json')")
        assert (status, list(json.loads(bytes(body)))) == (200, ["count"])
        status, body, _ = await page.run(f"call('{USERS}/GetUser', '{{\"id\": \"nobody\"}}', 'application/json')")
        assert (status, json.loads(bytes(body))["details"][0]["reason"]) == (404, "USER_NOT_FOUND")
        watch = json.dumps({"userId": "nobody", "snapshot": {}, "heartbeatInterval": "1s"})
        lines = await page.run(f"lines('{FEED}/WatchNotifications', '{watch}', 3)")
        assert [list(json.loads(line)) for line in lines]
        _, user = gateway.json(f"{USERS}/CreateUser", {"email": "web@example.com"})
        message, trailers = await _grpc_web(page, GetUserRequest(id=user["user"]["id"]))
        assert GetUserResponse.FromString(message).user.email == "web@example.com"
        assert "grpc-status:0" in trailers
        _, trailers = await _grpc_web(page, GetUserRequest(id="nobody"))
        assert "grpc-status:5" in trailers
        assert "grpc-status-details-bin:" in trailers
        await page.open(f"http://localhost:{gateway.page_port}/")
        await page.run(f"globalThis.GATEWAY = '{gateway.address}/'; {CALLS}")
        refused = f"call('{USERS}/CountUsers', '{{}}', 'application/json').then(() => 'answered', () => 'refused')"
        assert await page.run(refused) == "refused"


async def _grpc_web(page: Any, request: GetUserRequest) -> tuple[bytes, str]:
    """Call by gRPC-Web; return the message, empty where there is none, and the trailers, which may come as headers."""
    sent = request.SerializeToString()
    frame = list(b"\0" + len(sent).to_bytes(4, "big") + sent)
    _, body, headers = await page.run(f"call('{USERS}/GetUser', new Uint8Array({frame}), 'application/grpc-web+proto')")
    message, trailers, left = b"", str(headers), bytes(body)
    while left:
        length = int.from_bytes(left[1:5], "big")
        content, kind, left = left[5 : 5 + length], left[0], left[5 + length :]
        if kind & 0x80:
            trailers = content.decode()
        else:
            message = content
    return message, trailers
