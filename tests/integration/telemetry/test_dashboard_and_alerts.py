"""The dashboard and the alert rules speak of metrics that there are, and lead to what to do."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from vibework.notifications.v1 import notification_service_pb2
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import account_service_pb2, session_service_pb2, user_service_pb2, verification_service_pb2

from chassis.telemetry.of_workers import WorkerMetrics
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.notifications import running_notifications
from tests.harness.patience import PATIENCE_MS
from tests.harness.users import UsersServer, users_service
from tests.integration.telemetry.conftest import Measured, load
from tests.integration.telemetry.scraping import Scrape, metrics_port, scrape

ROOT = Path(__file__).parents[3]
DASHBOARD = ROOT / "deploy/grafana/dashboards/vibework.json"
RULES = ROOT / "deploy/prometheus/alerts.yaml"
OPERATIONS = ROOT / "docs/operations.md"
# Words of PromQL, of those that occur; all other names are taken for metrics.
WORDS = frozenset(
    {
        *("sum", "rate", "increase", "max", "min", "count", "by", "on", "and", "or", "absent", "time"),
        *("histogram_quantile", "min_over_time"),
    }
)
# Prometheus makes it itself, of every scrape.
OWN = frozenset({"up"})


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Return the panels of the dashboard that show something."""
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    """Yield every expression of both."""
    yield from (rule["expr"] for rule in rules())
    yield from (target["expr"] for panel in panels() for target in panel["targets"])


def metrics_of(expression: str) -> set[str]:
    """Return the metrics that an expression names: what is neither label, text, duration, number nor word."""
    bare = re.sub(
        r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on)\s*\([^)]*\)', " ", re.sub(r'"[^"]*"', "", expression)
    )
    return set(re.findall(r"\b[a-zA-Z_:][\w:]*", bare)) - WORDS - OWN


def test_the_names_of_an_expression_are_found() -> None:
    """The test below would be worth nothing if it overlooked metrics."""
    expression = 'sum by (job) (rate(a_total{b=~"c|d"}[5m])) / on (x) e{f="g"} > 0.02 and absent(h) or i_bucket'
    assert metrics_of(expression) == {"a_total", "e", "h", "i_bucket"}


async def everything(mongodb: MongoDatabase, users_port: int, served: UsersServer) -> list[Scrape]:
    """Make some load on both services and read the metrics of both."""
    port, metrics = metrics_port()
    asking = {"recipient_check": "required", "users_address": served.address, "recipient_check_timeout_ms": PATIENCE_MS}
    settings = metrics | asking | {"slow_query_ms": 1}
    async with running_notifications(mongodb, **settings) as running:
        user_id = await load(Measured(served, running, users_port, port))
        watch = running.feed.WatchNotifications(notification_service_pb2.WatchNotificationsRequest(user_id=user_id))
        await watch.read()
        found = [await scrape(number) for number in (users_port, port)]
        watch.cancel()
    return found


@pytest.mark.usefixtures("unhurried")
async def test_every_metric_that_is_named_is_there(
    mysql_module_database: MySQLDatabase, mongodb_module_database: MongoDatabase
) -> None:
    """A panel or a rule on a metric that is not there stays silent when it is needed."""
    (port, metrics), nobody = metrics_port(), f"{LOOPBACK}:{free_port()}"
    with WorkerMetrics(metrics["metrics_host"], port, 1) as workers:
        # As a worker has it: the metrics on a socket of its parent, which answers for it.
        settings: dict[str, Any] = {
            "metrics_host": f"fd:{os.dup(workers.inherited(0)[0])}",
            "metrics_port": 1,
            "notifications_address": nobody,
            "slow_query_ms": 1,
            "mysql_replica_hosts": f"{mysql_module_database.host}:{mysql_module_database.port}",
        }
        async with workers.served():
            with users_service(mysql_module_database, None, **settings) as served:
                users, notifications = await everything(mongodb_module_database, port, served)
    known = users.names | notifications.names
    for expression in expressions():
        assert metrics_of(expression) <= known, expression
    assert users.value("vibework_build_info", worker="0") == 1


def test_every_label_that_is_named_is_a_label() -> None:
    """A matcher on a label that is not there matches everything, or nothing."""
    known = {
        *("job", "instance", "worker", "version", "service"),
        *("grpc_service", "grpc_method", "grpc_code", "kind", "reason", "le"),
        *("driver", "pool", "statement", "replica", "cause", "peer", "channel", "state", "deferral"),
    }
    for expression in expressions():
        named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
        grouped = {
            label.strip() for group in re.findall(r"\bby\s*\(([^)]*)\)", expression) for label in group.split(",")
        }
        assert named | grouped <= known, expression


def test_methods_that_are_left_out_exist() -> None:
    """A method that is left out of a rule by a wrong name is not left out."""
    files = (account_service_pb2, session_service_pb2, user_service_pb2, verification_service_pb2)
    methods = {
        method.name
        for file in (*files, notification_service_pb2)
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }
    for expression in expressions():
        for named in re.findall(r'grpc_method(?:!~|!=|=~|=)"([^"]+)"', expression):
            assert set(named.split("|")) <= methods, named


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_every_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    """Whoever is woken up finds the section of the runbook by the alert's name."""
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+m", rule["for"])
    assert rule["annotations"]["summary"]
    anchor = rule["alert"].lower()
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{anchor}"
    headings = re.findall(r"^#+ (.+)$", OPERATIONS.read_text(), re.MULTILINE)
    assert anchor in [re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings]


def test_panels_have_names_units_and_places_of_their_own() -> None:
    """The dashboard can be read: every panel says what it shows, and none covers another."""
    found = panels()
    assert len({panel["title"] for panel in found}) == len(found) >= 20
    assert len({panel["id"] for panel in found}) == len(found)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in found}) == len(found)
    for panel in found:
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
