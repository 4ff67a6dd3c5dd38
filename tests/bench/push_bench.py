"""Push messages a second: the sender of the service beside the bare libraries, in one run.

``PYTHONPATH=.:client .venv/bin/python -m tests.bench.push_bench``. All post to the same push service, which is another
process on this machine, over HTTPS, with as many requests in flight. The libraries encrypt each message and post it,
and do nothing else: no check of an endpoint or an address, no cutting, no deadline, one signature for all. What posting
alone is worth, one body encrypted before, is measured beside them. They take turns, and the median of each counts.
"""

from __future__ import annotations

import asyncio
import base64
import json
import multiprocessing
import ssl
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import uvloop
from aiohttp import ClientSession, TCPConnector
from yarl import URL

from chassis.clock import utc_now
from notifications_service.delivery.channels.channel import PushMessage
from notifications_service.delivery.channels.push_encryption import encrypt
from notifications_service.delivery.channels.push_payload import payload
from notifications_service.delivery.channels.vapid import Vapid
from notifications_service.delivery.channels.web_push import WebPushSender
from notifications_service.push_subscriptions.endpoints import EndpointRules
from notifications_service.push_subscriptions.keys import PushKeys
from tests.harness.push_service import Browser, PushService, certificate

IN_FLIGHT = 50
ROUNDS = 5
SECONDS = 60.0
SUBJECT = "mailto:bench@example.com"
TEXT = "A sentence or two. " * 8
MESSAGE = PushMessage("dlv_1", "0123456789abcdef01234567", "A title of some length", TEXT, url="/inbox")

Send = Callable[[int], Awaitable[int]]


async def _serve(pem: str, told: Any) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)
    service = PushService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0, ssl=tls)
    told.send(server.sockets[0].getsockname()[1])
    while True:
        # What came is not looked at.
        await asyncio.sleep(1)
        service.received.clear()


def _run_service(pem: str, told: Any) -> None:
    uvloop.run(_serve(pem, told))


async def post(session: ClientSession, url: URL, body: bytes, headers: dict[str, str]) -> int:
    """Post a body, by the library alone; return the status."""
    async with session.post(url, data=body, headers=headers) as response:
        await response.read()
        return response.status


def headers_for(address: str, keys: PushKeys) -> dict[str, str]:
    """Return the headers of a message to a push service, signed once for all."""
    return {
        "Authorization": Vapid(SUBJECT, utc_now).authorization(f"https://{address}", keys.by_id["k1"]),
        "Content-Encoding": "aes128gcm",
        "Content-Type": "application/octet-stream",
        "TTL": "60",
    }


@contextmanager
def serving(pem: str) -> Iterator[int]:
    """Run a push service in a process of its own; yield its port."""
    hears, tells = multiprocessing.Pipe(duplex=False)
    service = multiprocessing.get_context("spawn").Process(target=_run_service, args=(pem, tells), daemon=True)
    service.start()
    try:
        yield hears.recv()
    finally:
        service.kill()
        service.join()


async def rate_of(send: Send, messages: int) -> float:
    """Return how many messages a second go, ``IN_FLIGHT`` at a time."""
    numbers = iter(range(messages))

    async def worker() -> None:
        for number in numbers:
            if await send(number) != 201:
                raise RuntimeError("not accepted")

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return messages / (time.perf_counter() - started)


async def _measure(port: int, pem: str, messages: int) -> dict[str, float]:
    tls = ssl.create_default_context(cafile=pem)
    keys = PushKeys.parse("k1:" + base64.b64encode(b"\x01" * 32).decode())
    targets = [Browser(f"https://127.0.0.1:{port}/{number}").target for number in range(IN_FLIGHT)]
    sender = WebPushSender(keys, SUBJECT, EndpointRules(allow_loopback=True), clock=utc_now, tls=tls)
    headers = headers_for(f"127.0.0.1:{port}", keys)
    ready, url = payload(MESSAGE), URL(targets[0].endpoint)
    body = encrypt(ready, targets[0].p256dh, targets[0].auth)

    async def ours(number: int) -> int:
        return (await sender.send(MESSAGE, targets[number % IN_FLIGHT], SECONDS)).http_status

    async with ClientSession(connector=TCPConnector(ssl=tls)) as session:

        async def libraries(number: int) -> int:
            target = targets[number % IN_FLIGHT]
            return await post(session, url, encrypt(ready, target.p256dh, target.auth), headers)

        async def posting(_: int) -> int:
            return await post(session, url, body, headers)

        subjects = {"sender": ours, "libraries": libraries, "posting": posting}
        rates: dict[str, list[float]] = {name: [] for name in subjects}
        for messages_of_round in (messages // 10, *[messages] * ROUNDS):
            for name, send in subjects.items():
                rates[name].append(await rate_of(send, messages_of_round))
    await sender.close()
    return _figures({name: each[1:] for name, each in rates.items()})


def _figures(rates: dict[str, list[float]]) -> dict[str, float]:
    medians = {f"{name}_per_second": round(statistics.median(each)) for name, each in rates.items()}
    ratios = [one / other for one, other in zip(rates["sender"], rates["libraries"], strict=True)]
    return {**medians, "sender_to_libraries": round(statistics.median(ratios), 2)}


@click.command()
@click.option("--messages", default=5_000, show_default=True, help="Messages of a round.")
def main(messages: int) -> None:
    """Measure and print JSON."""
    with tempfile.TemporaryDirectory() as folder:
        pem = str(certificate(Path(folder)).file)
        with serving(pem) as port:
            click.echo(json.dumps(uvloop.run(_measure(port, pem, messages))))


if __name__ == "__main__":
    main()
