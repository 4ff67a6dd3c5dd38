"""The sender of push messages, against a push service over HTTPS on this machine."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis.clock import utc_now
from notifications_service.delivery.channels import public_connector, web_push
from notifications_service.delivery.channels.channel import Outcome, PushMessage
from notifications_service.delivery.channels.public_connector import AddressRefused, CheckedResolver
from notifications_service.delivery.channels.web_push import WebPushSender
from notifications_service.outbox.model import Reason
from notifications_service.push_subscriptions.endpoints import EndpointRules
from notifications_service.push_subscriptions.keys import PushKeys
from notifications_service.push_subscriptions.model import PushTarget
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.push_service import (
    Browser,
    Certificate,
    PushService,
    Received,
    certificate,
    push_service,
    unbase64url,
    vapid_claims,
)
from tests.unit.notifications_service.push_subscriptions.test_keys import PRIVATE, PUBLIC

MESSAGE = PushMessage("dlv_1", "0123456789abcdef01234567", "Hi", "there", url="/inbox", topic="t", urgency="high")
# Long enough to connect on a busy machine, and as long as a test waits for nothing.
SHORT_SECONDS = 2.0
PUBLIC_ADDRESS, PRIVATE_ADDRESS = "93.184.216.34", "10.0.0.1"


@asynccontextmanager
async def sending(tls: ssl.SSLContext | None, *, allow_loopback: bool = True) -> AsyncIterator[WebPushSender]:
    """A sender with the key `k1`."""
    keys, rules = PushKeys.parse(f"k1:{PRIVATE}"), EndpointRules(allow_loopback=allow_loopback)
    sender = WebPushSender(keys, "mailto:ops@example.com", rules, clock=utc_now, tls=tls)
    try:
        yield sender
    finally:
        await sender.close()


@pytest.fixture
def trusted(tmp_path: Path) -> Certificate:
    """A certificate that the sender trusts."""
    return certificate(tmp_path)


@pytest.fixture
async def service(trusted: Certificate) -> AsyncIterator[PushService]:
    """A push service."""
    async with push_service(trusted) as service:
        yield service


@pytest.fixture
async def sender(trusted: Certificate) -> AsyncIterator[WebPushSender]:
    """A sender that may call this machine."""
    async with sending(trusted.client) as sender:
        yield sender


async def _send(sender: WebPushSender, target: PushTarget, seconds: float = PATIENCE_SECONDS) -> Outcome:
    return await sender.send(MESSAGE, target, seconds)


async def test_a_browser_reads_what_is_sent(service: PushService, sender: WebPushSender) -> None:
    """Encrypted for it alone, signed for its push service, with the headers of RFC 8030."""
    browser = Browser(service.endpoint("a/b?c=d%2f"))
    assert await _send(sender, browser.target) == Outcome(http_status=201)
    [received] = service.received
    assert browser.message(received)["body"] == "there"
    claims, public = vapid_claims(received)
    assert (claims["aud"], public) == (f"https://{service.address}", unbase64url(PUBLIC))
    sent = {name: received.headers.get(name) for name in ("ttl", "urgency", "topic", "user-agent", "cookie")}
    assert sent == {"ttl": "2419200", "urgency": "high", "topic": "t", "user-agent": None, "cookie": None}
    assert received.path == "/a/b?c=d%2f"


@pytest.mark.parametrize(
    ("ttl", "topic", "sent"),
    [
        (timedelta(seconds=1.9), "a_B-9" * 6, ("1", "a_B-9" * 6)),
        (timedelta(), "", ("0", None)),
        (timedelta(days=99), "a b", ("2419200", None)),
        (timedelta(seconds=-5), "x" * 33, ("0", None)),
    ],
)
async def test_headers_are_those_that_push_services_take(
    service: PushService, sender: WebPushSender, ttl: timedelta, topic: str, sent: tuple[str, str | None]
) -> None:
    """Whole seconds, of 28 days at most, and no topic that is none."""
    message = PushMessage("dlv_1", "", "Hi", "", ttl=ttl, topic=topic)
    assert (await sender.send(message, Browser(service.endpoint("a")).target, PATIENCE_SECONDS)).reason is None
    headers = service.received[0].headers
    assert (headers["ttl"], headers.get("topic")) == sent


async def test_connections_are_used_again(service: PushService, sender: WebPushSender) -> None:
    """One message after the other goes over one connection, whatever the answer was."""
    target = Browser(service.endpoint("a")).target
    for status in (201, 404, 500, 201):
        service.status = status
        assert (await _send(sender, target)).http_status == status
    assert (len(service.received), service.connections) == (4, 1)


async def test_a_subscription_that_is_gone_is_told(service: PushService, sender: WebPushSender) -> None:
    """The answer of the push service reaches the outcome, with what it asks for."""
    service.status, service.headers = 429, {"Retry-After": "120"}
    outcome = await _send(sender, Browser(service.endpoint("a")).target)
    assert outcome == Outcome(Reason.RATE_LIMITED, http_status=429, retry_after=timedelta(minutes=2))


async def test_redirects_are_not_followed(service: PushService, sender: WebPushSender) -> None:
    """They would lead to where nobody has looked."""
    service.status, service.headers = 307, {"Location": service.endpoint("other")}
    outcome = await _send(sender, Browser(service.endpoint("a")).target)
    assert (outcome.reason, outcome.final) == (Reason.ENDPOINT_REFUSED, True)
    assert [received.path for received in service.received] == ["/a"]


@pytest.mark.parametrize("change", [{"key_id": "k2"}, {"endpoint": "", "p256dh": b"", "auth": b""}])
async def test_a_subscription_without_its_key_is_not_tried(
    service: PushService, sender: WebPushSender, change: dict[str, Any]
) -> None:
    """Neither one whose key was removed nor one whose seal cannot be opened; no attempt can change that."""
    target = Browser(service.endpoint("a")).target
    values = {name: getattr(target, name) for name in ("id", "endpoint", "p256dh", "auth", "key_id")}
    outcome = await _send(sender, PushTarget(**(values | change)))
    assert (outcome.reason, outcome.final, service.received) == (Reason.KEY_GONE, True, [])


async def test_a_message_that_cannot_be_made_is_final(service: PushService, sender: WebPushSender) -> None:
    """Neither URLs that are too long nor a broken key is a fault of the push service."""
    target = Browser(service.endpoint("a")).target
    large = PushMessage("dlv_1", "", "t", "b", url="/" + '"' * 1_023, icon="/" + '"' * 1_023)
    assert (await sender.send(large, target, PATIENCE_SECONDS)).reason is Reason.PAYLOAD_TOO_LARGE
    broken = PushTarget("push_1", target.endpoint, b"\x04" + bytes(64), target.auth, "k1")
    outcome = await _send(sender, broken)
    assert (outcome.reason, outcome.final, service.received) == (Reason.REJECTED_PERMANENT, True, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_without_the_setting_this_machine_is_not_called(trusted: Certificate, host: str) -> None:
    """A registered endpoint never reaches what listens beside the server."""
    async with push_service(trusted) as service, sending(trusted.client, allow_loopback=False) as strict:
        port = service.address.rpartition(":")[2]
        outcome = await _send(strict, Browser(f"https://{host}:{port}/a").target)
        assert (outcome.reason, outcome.final, service.connections) == (Reason.ENDPOINT_REFUSED, True, 0)


def _info(address: str, port: int) -> tuple[Any, ...]:
    kind, rest = (socket.AF_INET6, (0, 0)) if ":" in address else (socket.AF_INET, ())
    return kind, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, *rest)


def _names(monkeypatch: pytest.MonkeyPatch, *answers: list[tuple[str, int]]) -> list[str]:
    """Let every name stand for these addresses, and then for the next ones; return the names asked for."""
    asked, left, loop = [], list(answers), asyncio.get_running_loop()
    with_addresses = loop.getaddrinfo  # which uvloop asks for what it connects to

    async def look_up(host: str, port: int, *rest: Any, **how: Any) -> list[Any]:
        if host[0].isdigit():
            return await with_addresses(host, port, *rest, **how)
        asked.append(host)
        found = left.pop(0) if len(left) > 1 else left[0]
        return [_info(address, at) for address, at in found]

    monkeypatch.setattr(loop, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    "addresses",
    [
        [PUBLIC_ADDRESS, PRIVATE_ADDRESS],
        [PRIVATE_ADDRESS, PUBLIC_ADDRESS],
        [PUBLIC_ADDRESS, "fe80::1"],
        ["::ffff:93.184.216.34"],
        ["64:ff9b::5db8:d822"],
        ["2002:5db8:d822::1"],
        ["127.0.0.1"],
        ["169.254.169.254"],
    ],
)
async def test_a_name_with_an_address_that_is_not_public_is_refused(
    trusted: Certificate, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    """One such address is enough, in whatever order: nothing is connected to."""
    _names(monkeypatch, [(address, 443) for address in addresses])
    opened: list[Any] = []
    async with sending(trusted.client, allow_loopback=False) as strict:
        with monkeypatch.context() as patch:  # which the loop needs as it was
            patch.setattr(socket, "socket", lambda **info: opened.append(info))
            outcome = await _send(strict, Browser("https://push.example.com/a").target)
    assert (outcome.reason, outcome.final, opened) == (Reason.ENDPOINT_REFUSED, True, [])


async def test_what_was_judged_is_what_is_connected_to(
    service: PushService, sender: WebPushSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that stands for another address a moment later is not looked up again in between."""
    port = int(service.address.rpartition(":")[2])
    asked = _names(monkeypatch, [("127.0.0.1", port)], [(PRIVATE_ADDRESS, port)])
    assert (await _send(sender, Browser(f"https://localhost:{port}/a").target)).http_status == 201
    assert asked == ["localhost"]


async def test_the_last_gate_is_the_socket(trusted: Certificate) -> None:
    """An address that came past everything else is still not connected to."""
    connector = public_connector.new_connector(EndpointRules())
    open_socket: Any = connector._socket_factory
    with pytest.raises(OSError, match="not a public address"):
        open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", (PRIVATE_ADDRESS, 443)))
    with pytest.raises(AddressRefused):
        await CheckedResolver(EndpointRules()).resolve("localhost", 443)
    await connector.close()


async def test_a_name_that_nobody_knows_is_no_connection(trusted: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be there again later, like the name server."""

    async def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "nobody")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    async with sending(trusted.client, allow_loopback=False) as strict:
        outcome = await _send(strict, Browser("https://push.example.com/a").target)
    assert (outcome.reason, outcome.final, outcome.blames_provider) == (Reason.CONNECTION, False, True)


@pytest.mark.parametrize("wrong", ["ended", "unknown", "name"])
async def test_a_certificate_that_does_not_hold_gets_nothing(tmp_path: Path, wrong: str) -> None:
    """Neither one that has ended, of nobody known, nor for another name."""
    mine = certificate(tmp_path, ended=wrong == "ended")
    trust = ssl.create_default_context() if wrong == "unknown" else mine.client
    host = "[::1]" if wrong == "name" else "127.0.0.1"
    server = PushService()
    listening = await asyncio.start_server(server.serve, host.strip("[]"), 0, ssl=mine.server)
    async with sending(trust) as sender:
        port = listening.sockets[0].getsockname()[1]
        outcome = await _send(sender, Browser(f"https://{host}:{port}/a").target)
    listening.close()
    assert (outcome.reason, outcome.final, server.received) == (Reason.TLS, False, [])


async def test_a_push_service_that_is_not_there_is_no_connection(sender: WebPushSender) -> None:
    """Nobody listens at the port of a listener that was closed."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    outcome = await _send(sender, Browser(f"https://127.0.0.1:{port}/a").target)
    assert (outcome.reason, outcome.blames_provider) == (Reason.CONNECTION, True)


@pytest.mark.long
async def test_a_push_service_that_is_silent_has_its_time(service: PushService, sender: WebPushSender) -> None:
    """It may have taken the message, which the reason says; the worker goes on."""

    async def hang(_: Received, __: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    service.behaviour = hang
    outcome = await _send(sender, Browser(service.endpoint("a")).target, SHORT_SECONDS)
    assert (outcome.reason, outcome.final, outcome.blames_provider) == (Reason.TIMEOUT, False, True)
    assert len(service.received) == 1


async def test_a_connection_that_breaks_is_tried_once_more(service: PushService, sender: WebPushSender) -> None:
    """Closed at the moment of sending, as idle ones are: the message goes over another one, and at most twice."""
    target = Browser(service.endpoint("a")).target
    assert (await _send(sender, target)).http_status == 201

    async def leave(_: Received, writer: asyncio.StreamWriter) -> None:
        if len(service.received) == 2:
            writer.close()
        else:
            await service._answer(_, writer)

    service.behaviour = leave
    assert (await _send(sender, target)).http_status == 201
    assert (len(service.received), service.connections) == (3, 2)

    async def always_leave(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    service.behaviour = always_leave
    outcome = await _send(sender, target)
    assert (outcome.reason, outcome.final) == (Reason.CONNECTION, False)
    assert len(service.received) in (4, 5)


async def test_what_comes_after_the_status_does_not_count(
    service: PushService, sender: WebPushSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that never ends, or is large, leaves a message sent that the push service accepted."""
    monkeypatch.setattr(web_push, "_BODY_SECONDS", 0.01)

    async def never_end(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 201 x\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000)

    service.behaviour = never_end
    assert (await _send(sender, Browser(service.endpoint("a")).target)).http_status == 201


async def test_an_answer_that_is_none_is_no_connection(service: PushService, sender: WebPushSender) -> None:
    """Whatever listens there, what it says reaches no log and no caller."""

    async def babble(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        writer.close()

    service.behaviour = babble
    outcome = await _send(sender, Browser(service.endpoint("a")).target)
    assert (outcome.reason, outcome.final) == (Reason.CONNECTION, False)
    assert "mail" not in outcome.detail


async def test_no_outcome_tells_the_endpoint(service: PushService, sender: WebPushSender) -> None:
    """What people and logs are shown has no address and no secret."""
    service.status = 410
    browser = Browser(service.endpoint("secret-part"))
    outcomes = [
        await _send(sender, browser.target),
        await _send(sender, Browser("https://10.0.0.1/secret-part").target),
    ]
    assert "secret-part" not in repr([outcomes, browser.target])
