"""Secrets of deliveries stand readable nowhere: in no row, backup, log, metric, trace or output of a command."""

from __future__ import annotations

import asyncio
import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pymongo
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb
from vibework.notifications.v1 import delivery_service_pb2_grpc as deliveries_grpc
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1 import notification_service_pb2_grpc as feed_grpc
from vibework.notifications.v1 import preference_service_pb2 as preferences_pb
from vibework.notifications.v1 import preference_service_pb2_grpc as preferences_grpc
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import user_service_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from tests.e2e.places import held, metrics, said
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.pair import SeparatePair, separate_pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.push_service import Browser, PushService, certificate, push_service
from tests.harness.relay import PASSWORD, USER, Relay, running
from tests.harness.users import SECRET_KEYS, BlockingStubs
from tests.integration.telemetry.collector import Collector, collecting

URL: Final = "https://app.example.com/in/"
ADDRESS, REFUSED = "planted.address@example.com", "planted.refused@example.com"
CODE, TEXT = "PLANTED-CODE-5f3a", "planted text of a direct mail"
ENDPOINT: Final = "planted-endpoint-9b1c77e2d4"
VAPID = base64.urlsafe_b64encode(b"\x21" * 32).decode().rstrip("=")
UNSUBSCRIBE = base64.b64encode(b"\x22" * 32).decode()


@dataclass(frozen=True)
class Far:
    """The far ends: a relay, a push service, a collector of traces; and the ports of the metrics."""

    relay: Relay
    push: PushService
    collector: Collector
    users_metrics: int
    notifications_metrics: int


def settings(far: Far, pem: Path) -> dict[str, str]:
    """Return the settings of a pair that delivers to the far ends and tells all it can."""
    return {
        "SMTP_HOST": LOOPBACK,
        "SMTP_PORT": str(far.relay.port),
        "SMTP_CA_FILE": str(pem),
        "SMTP_USER": USER,
        "SMTP_PASSWORD": PASSWORD,
        "EMAIL_FROM": "no-reply@vibework.example",
        "EMAIL_UNVERIFIED": "send",
        "UNSUBSCRIBE_URL": "https://app.example.com/unsubscribe?t={token}",
        "UNSUBSCRIBE_KEYS": f"u1:{UNSUBSCRIBE}",
        "WEB_PUSH_KEYS": f"k1:{VAPID}",
        "WEB_PUSH_SUBJECT": "mailto:ops@example.com",
        "WEB_PUSH_ALLOW_LOOPBACK": "true",
        "SSL_CERT_FILE": str(pem),
        "VERIFICATION_URLS": f"sign_in={URL}{{token}}",
        "NOTICES": "welcome",
        "SLOW_QUERY_MS": "1",
        "OUTBOX_POLL_MS": "50",
        "OTEL_EXPORTER_OTLP_ENDPOINT": far.collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }


def deliver(sides: SeparatePair, far: Far, browser: Browser) -> str:
    """Have everything sent once: by the pair, to an address, by push; return the token that was mailed."""
    in_an_hour = Timestamp()
    in_an_hour.FromDatetime(datetime.now(UTC) + timedelta(hours=1))
    with grpc.insecure_channel(sides.users.address) as channel:
        users = BlockingStubs.on(channel)
        user_id = users.users.CreateUser(user_service_pb2.CreateUserRequest(email="ann@example.com")).user.id
        sign_in, token = pb.VERIFICATION_PURPOSE_SIGN_IN, pb.VERIFICATION_KIND_TOKEN
        sent = pb.VERIFICATION_DELIVERY_SEND_CODE
        users.verifications.CreateVerification(
            pb.CreateVerificationRequest(purpose=sign_in, identifier="bob@example.com", kind=token, delivery=sent)
        )
    with grpc.insecure_channel(sides.notifications.address) as channel:
        preferences_grpc.PreferenceServiceStub(channel).RegisterPushSubscription(
            preferences_pb.RegisterPushSubscriptionRequest(user_id=user_id, web_push=target_of(browser))
        )
        content = notification_pb2.NotificationContent(
            title="t",
            message="m",
            type=notification_pb2.NOTIFICATION_TYPE_PUSH,
            channels=[notification_pb2.NOTIFICATION_TYPE_PUSH, notification_pb2.NOTIFICATION_TYPE_EMAIL],
        )
        feed_grpc.NotificationServiceStub(channel).CreateNotification(
            feed_pb.CreateNotificationRequest(user_id=user_id, content=content), timeout=PATIENCE_SECONDS
        )
        direct = deliveries_grpc.DeliveryServiceStub(channel)
        template = deliveries_pb.DirectTemplate(purpose="sign_in", variables={"code": CODE})
        own = notification_pb2.EmailContent(subject="planted subject", text=TEXT)
        for address, what in ((ADDRESS, {"template": template}), (REFUSED, {"email": own})):
            direct.SendDirect(
                deliveries_pb.SendDirectRequest(email_address=address, expires_at=in_an_hour, **what),
                timeout=PATIENCE_SECONDS,
            )
    # A welcome, a link, a notification and a direct mail; another one is refused.
    wait_for(lambda: len(far.relay.mails) == 4 and bool(far.push.received), "everything to be sent")
    wait_for(lambda: open_deliveries(sides) == 0, "everything to be recorded")
    found = re.search(rf"{re.escape(URL)}([\w.-]+)", "".join(readable(mail.content) for mail in far.relay.mails))
    assert found is not None
    return found[1]


def target_of(browser: Browser) -> preferences_pb.WebPushTarget:
    """Return a subscription as its browser tells it."""
    return preferences_pb.WebPushTarget(
        endpoint=browser.endpoint, p256dh=browser.p256dh, auth=browser.auth, key_id=browser.key_id
    )


def readable(content: bytes) -> str:
    """Return a mail as text, its soft line breaks taken out."""
    return content.decode().replace("=\r\n", "").replace("=3D", "=")


def open_deliveries(sides: SeparatePair) -> int:
    """Count what is still to be sent."""
    with pymongo.MongoClient[dict[str, Any]](sides.mongodb.url) as client:
        return int(client.get_default_database().deliveries.count_documents({"dueAt": {"$exists": True}}))


def read_everything(sides: SeparatePair, far: Far, log: Path) -> dict[str, str]:
    """Return what stands in each place."""
    environment = {**sides.mongodb.environment(), "SECRET_KEYS": SECRET_KEYS}
    with pymongo.MongoClient[dict[str, Any]](sides.mongodb.url) as client:
        ids = [row["_id"] for row in client.get_default_database().deliveries.find({}, {"_id": 1})]
    commands = [["list", "--json"], ["list"], *(["show", id_, "--json"] for id_ in ids[:8])]
    shown = [said(environment, "notifications_service", "deliveries", *arguments) for arguments in commands]
    wait_for(lambda: "SendDirect" in "".join(far.collector.texts), "the traces")
    return {
        "rows and backups": held(sides.mysql, sides.mongodb),
        "logs": log.read_text(),
        "metrics": metrics(far.users_metrics) + metrics(far.notifications_metrics),
        "traces": "".join(far.collector.texts),
        "commands": "".join(shown) + said(environment, "notifications_service", "status"),
    }


def search(sides: SeparatePair, far: Far, browser: Browser, log: Path) -> None:
    """Deliver, and look for every secret in every place."""
    sides.users.settings = {**sides.users.settings, "METRICS_PORT": str(far.users_metrics)}
    sides.notifications.settings = {**sides.notifications.settings, "METRICS_PORT": str(far.notifications_metrics)}
    sides.start()
    row, _, secret = deliver(sides, far, browser).partition(".")
    places = read_everything(sides, far, log)
    vapid = far.push.received[0].headers["authorization"].rpartition(".")[2].partition(",")[0]
    secrets = {
        "token": secret,
        "code": CODE,
        "text": TEXT,
        "subject": "planted subject",
        "address of a direct mail": ADDRESS,
        "address of a refused mail": REFUSED,
        "endpoint": ENDPOINT,
        "browser's secret": browser.auth.decode(),
        "browser's secret, in base64": base64.urlsafe_b64encode(browser.auth).decode().rstrip("="),
        "browser's key": base64.urlsafe_b64encode(browser.p256dh).decode().rstrip("="),
        "signature of Web Push": vapid,
        "key of Web Push": VAPID,
        "key of unsubscribing": UNSUBSCRIBE,
        "key of secrets": SECRET_KEYS.partition(":")[2],
        "password of the relay": PASSWORD,
        "sign-in at the relay": base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(),
        "password in base64": base64.b64encode(PASSWORD.encode()).decode(),
    }
    assert all(secrets.values())
    found = [f"{what} in {place}" for place, text in places.items() for what, value in secrets.items() if value in text]
    assert found == []
    # Each place has what it is read for.
    signs = {
        "rows and backups": row,
        "logs": "SendDirect",
        "metrics": "vibework_deliveries_ended_total",
        "traces": "outbox.claim",
        "commands": "rejected_permanent",
    }
    assert [place for place, sign in signs.items() if sign not in places[place]] == []
    assert far.relay.users


@pytest.mark.long
async def test_no_secret_of_a_delivery_is_readable_anywhere(
    mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path
) -> None:
    """Mails and push messages are sent, and one is refused by a relay that quotes it: far ends alone have secrets."""
    pem, relay, log = certificate(tmp_path), Relay(), tmp_path / "log"
    relay.refuse[REFUSED] = f"550 5.1.1 <{REFUSED}>: no such mailbox"
    options = {"auth_required": True, "authenticator": relay.authenticate}
    async with push_service(pem) as push, running(relay, tls=pem.server, options=options):
        with collecting() as collector:
            far = Far(relay, push, collector, free_port(), free_port())
            browser = Browser(push.endpoint(ENDPOINT))
            own = settings(far, pem.file)
            with separate_pair(mysql_database, mongodb_database, log, **own) as sides:
                await asyncio.to_thread(search, sides, far, browser, log)
