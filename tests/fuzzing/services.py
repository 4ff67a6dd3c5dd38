"""Both services as processes on databases of a run, with all that they can have: mails, push, attempts without end."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vibework.testing.local.ports import LOOPBACK, free_port

from tests.bench.usage import peak_mib, resident_mib
from tests.fuzzing.rows import KEY_ID
from tests.harness.database_fixtures import migrated_mongodb, migrated_mysql
from tests.harness.database_servers import TestRun
from tests.harness.fleet import relaying
from tests.harness.pair import SeparatePair, Side, separate_pair
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.relay import Relay
from tests.integration.telemetry.scraping import Scrape, parsed

SETTINGS: Final = {
    # All callers are one address here, and nobody is to be locked out.
    "ATTEMPTS_PER_ACCOUNT": "1000000000",
    "ATTEMPTS_PER_ADDRESS": "1000000000",
    "SMTP_SECURITY": "none",
    "EMAIL_FROM": "no-reply@vibework.example",
    "EMAIL_UNVERIFIED": "send",
    "VERIFICATION_URLS": "sign_in=https://app.example.com/in/{token}",
    "NOTICES": "welcome,password_changed,email_changed,new_sign_in",
    "UNSUBSCRIBE_URL": "https://app.example.com/unsubscribe?t={token}",
    "UNSUBSCRIBE_KEYS": f"u1:{base64.b64encode(bytes(range(32))).decode()}",
    "WEB_PUSH_KEYS": f"{KEY_ID}:{base64.urlsafe_b64encode(bytes([33]) * 32).decode().rstrip('=')}",
    "WEB_PUSH_SUBJECT": "mailto:ops@example.com",
    "AUDIT_LOG": "stdout",
    "LOG_FORMAT": "json",
    # No limit of ours may end what a busy machine takes long for.
    "MYSQL_QUERY_TIMEOUT_MS": "30000",
    "MYSQL_POOL_ACQUIRE_TIMEOUT_MS": "30000",
    "MONGODB_QUERY_TIMEOUT_MS": "30000",
    "RECIPIENT_CHECK_TIMEOUT_MS": "30000",
    "GRPC_MAX_DEADLINE_MS": "60000",
    "HEALTH_TIMEOUT_MS": "30000",
}


@dataclass(frozen=True)
class Service:
    """One of the two as it runs."""

    side: Side
    metrics_port: int

    @property
    def name(self) -> str:
        """What people call it."""
        return self.side.package.partition("_")[0]

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.side.port

    def scrape(self) -> Scrape:
        """Read its metrics."""
        with urllib.request.urlopen(
            f"http://{LOOPBACK}:{self.metrics_port}/metrics", timeout=PATIENCE_SECONDS
        ) as answer:
            return parsed(answer.read().decode())

    def resident(self) -> float:
        """Return the memory that its process occupies, in MiB."""
        return resident_mib(self.side.pid)

    def peak(self) -> float:
        """Return the most that it has occupied, in MiB."""
        return peak_mib(self.side.pid)

    def log_lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of its log that are JSON."""
        with self.side.log.open(encoding="utf-8", errors="backslashreplace") as log:
            for line in log:
                if line.startswith("{"):
                    yield json.loads(line)


@dataclass(frozen=True)
class Running:
    """Both services, their databases, and the relay that takes their mails."""

    users: Service
    notifications: Service
    pair: SeparatePair
    relay: Relay

    @property
    def services(self) -> tuple[Service, Service]:
        """Both."""
        return self.users, self.notifications

    def of(self, rpc: str) -> Service:
        """Return the service that has an RPC, `package.Service/Method`."""
        return self.users if rpc.startswith("vibework.users.") else self.notifications


@contextmanager
def running(run: TestRun, folder: Path, **settings: str) -> Iterator[Running]:
    """Start both, with logs in a folder; ``settings``: environment variables that differ."""
    with (
        migrated_mysql(run, run.mysql()) as mysql,
        migrated_mongodb(run, run.mongodb()) as mongodb,
        relaying(Relay()) as relay,
    ):
        smtp = {"SMTP_HOST": LOOPBACK, "SMTP_PORT": str(relay.port)}
        with separate_pair(mysql, mongodb, **{**SETTINGS, **smtp, **settings}) as pair:
            services = [_prepared(side, folder) for side in (pair.users, pair.notifications)]
            pair.start()
            yield Running(services[0], services[1], pair, relay)


def _prepared(side: Side, folder: Path) -> Service:
    """Let a service log into a file of its own, and tell its metrics."""
    service = Service(side, free_port())
    side.log = folder / f"{service.name}.log"
    side.settings = {**side.settings, "METRICS_PORT": str(service.metrics_port)}
    return service
