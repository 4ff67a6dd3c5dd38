"""MongoDB's pool at its limit, as metrics show it; the drivers keep these counters to themselves."""

from __future__ import annotations

import asyncio

import pytest
from pymongo.errors import WaitQueueTimeoutError
from vibework.notifications.v1 import notification_service_pb2

from chassis.errors import DatabaseUnavailable
from notifications_service.mongodb.database import MONITORING, Database
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import running_notifications, settings_for
from tests.harness.proxy import proxy_to
from tests.integration.telemetry.scraping import metrics_port, until

# Connections for calls; one more is kept for watches.
POOL = 2


@pytest.mark.long
@pytest.mark.parametrize("driver", ["pymongo", "motor"])
async def test_connections_lent_and_callers_waiting_are_seen(
    mongodb_module_database: MongoDatabase, driver: str
) -> None:
    """While the database hangs all connections are lent and the next callers wait; afterwards neither."""
    (port, metrics), own = metrics_port(), {"pool": "calls", "driver": driver}
    address = mongodb_module_database.url.split("/")[2].rpartition("@")[2].split(",")[0]
    host, _, number = address.partition(":")
    with proxy_to(host, int(number)) as proxy:
        url = mongodb_module_database.url.replace(address, f"127.0.0.1:{proxy.listens}")
        settings = {
            "mongodb_url": url + ("&" if "?" in url else "?") + "directConnection=true",
            "mongodb_connection_pool_size": MONITORING + 1 + POOL,
            "mongodb_driver": driver,
            **metrics,
        }
        async with running_notifications(mongodb_module_database, **settings) as running:
            requests = [
                notification_service_pb2.ListNotificationsRequest(user_id=f"user_{number}", page_size=50)
                for number in range(POOL + 3)
            ]
            before = await until(port, lambda now: now.value("vibework_pool_size", **own) >= 1)
            assert before.value("vibework_pool_limit", **own) == POOL
            proxy.freeze()
            calls = [asyncio.ensure_future(running.feed.ListNotifications(request)) for request in requests]
            found = await until(port, lambda now: now.value("vibework_pool_waiting", **own) >= 1)
            assert found.value("vibework_pool_in_use", **own) == POOL
            proxy.thaw()
            await asyncio.gather(*calls, return_exceptions=True)
            await until(port, lambda now: now.value("vibework_pool_in_use", **own) == 0)


def test_those_who_waited_in_vain_are_counted(mongodb_module_database: MongoDatabase) -> None:
    """A pool that is too small shows in one number."""
    database = Database(settings_for(mongodb_module_database))
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable), database.limits():
            raise WaitQueueTimeoutError("nobody gave one back")
    (timeouts,) = [family for family in database.pool_metrics() if family.name == "vibework_pool_timeouts_total"]
    assert [value for _, value in timeouts.samples] == [2]
