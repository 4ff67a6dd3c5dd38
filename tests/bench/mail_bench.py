"""Mails a second to the local catcher: of the sender, and of aiosmtplib alone over as many connections.

`.venv/bin/python -m tests.bench.mail_bench`, in rounds that take turns, so that what else the machine does meets both.
The sender also writes each mail; aiosmtplib alone is given its bytes.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
from aiosmtplib import SMTP
from vibework.testing.local import mail, ports

from chassis.clock import utc_now
from notifications_service.delivery.channels.assembly import tls_context
from notifications_service.delivery.channels.channel import Mail
from notifications_service.delivery.channels.mime import MailComposer
from notifications_service.delivery.channels.settings import EmailSettings
from notifications_service.delivery.channels.smtp import SMTPSender
from notifications_service.delivery.channels.templates import NotificationMail, Templates

FROM = "no-reply@vibework.example"
TO = "ada@example.com"
CONNECTIONS = 4
MAILS = 200
ROUNDS = 5
MAIL_SECONDS = 60.0


def mails() -> list[Mail]:
    """Return mails as the worker hands them over."""
    made = Templates(EmailSettings(email_from=FROM)).render(NotificationMail("Report", "A line of text.\n" * 20))
    return [Mail(f"dlv_{number:026d}", TO, made.subject, made.text, made.html) for number in range(MAILS)]


async def by_the_sender(sender: SMTPSender, batch: list[Mail]) -> None:
    """Send the mails as a worker does, each when there is a free connection."""
    outcomes = await asyncio.gather(*(sender.send(mail, MAIL_SECONDS) for mail in batch))
    assert all(outcome.reason is None for outcome in outcomes)


async def by_aiosmtplib(clients: list[SMTP], contents: list[bytes]) -> None:
    """Send the bytes over connections that are open."""
    left = iter(contents)

    async def work(client: SMTP) -> None:
        for content in left:
            await client.sendmail(FROM, TO, content)

    await asyncio.gather(*map(work, clients))


async def timed(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    """Return how many mails a second one round makes, and how much processor time this end takes for one (ms)."""
    started, used = time.perf_counter(), time.process_time()
    await work()
    return MAILS / (time.perf_counter() - started), (time.process_time() - used) / MAILS * 1000


async def measure(port: int) -> None:
    """Take turns, and print both rates and their ratio."""
    settings = EmailSettings(
        smtp_host=ports.LOOPBACK, smtp_port=port, smtp_security="none", email_from=FROM, smtp_connections=CONNECTIONS
    )
    sender = SMTPSender(settings, tls_context(settings), utc_now)
    batch = mails()
    contents = [MailComposer(FROM).compose(mail, datetime.now(UTC)) for mail in batch]
    clients = [SMTP(hostname=ports.LOOPBACK, port=port, start_tls=False) for _ in range(CONNECTIONS)]
    for client in clients:
        await client.connect()
    ours, bare = [], []
    for _ in range(ROUNDS):
        bare.append(await timed(lambda: by_aiosmtplib(clients, contents)))
        ours.append(await timed(lambda: by_the_sender(sender, batch)))
    sender.close()
    say(f"{len(contents[0])} bytes, {CONNECTIONS} connections, median of {ROUNDS} rounds of {MAILS} mails")
    for name, rounds in (("aiosmtplib alone", bare), ("the sender", ours)):
        rate, used = (statistics.median(values) for values in zip(*rounds, strict=True))
        say(f"{name}: {rate:.0f} mails a second, {used:.2f} ms of processor time each")
    ratios = [one[0] / other[0] for one, other in zip(ours, bare, strict=True)]
    say(f"ratio of the rates {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


@contextmanager
def catching() -> Iterator[int]:
    """Run a catcher of its own; yield its port."""
    with tempfile.TemporaryDirectory() as folder:
        port = ports.free_port()
        catcher = mail.begin(port, Path(folder) / "mail", Path(folder) / "mail.log")
        try:
            mail.wait(catcher, port)
            yield port
        finally:
            catcher.stop()


def main() -> None:
    """Measure against a catcher of its own."""
    with catching() as port:
        uvloop.run(measure(port))


if __name__ == "__main__":
    main()
