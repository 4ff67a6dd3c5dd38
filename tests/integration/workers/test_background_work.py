"""Several workers do the work beside the calls together: each piece once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.testing.local.ports import LOOPBACK

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.patience import wait_for
from tests.harness.workers import workers
from users_service.outbox.relay import BATCH

WORKERS = 3
CALLS = 400
SESSIONS = 2_500


class Deletions:
    """A notifications service that notes whose notifications it deleted, once all workers have asked for some."""

    def __init__(self) -> None:
        """Begin with none."""
        self.users = Counter[str]()
        self._callers = set[str]()
        self._lock = threading.Lock()
        self._all_asked = threading.Event()

    def delete(self, request: Any, context: Any) -> pb.DeleteUserNotificationsResponse:
        """Note a call that is answered; where another worker is slow to start, the caller is to come again."""
        with self._lock:
            self._callers.add(context.peer())
            if len(self._callers) == WORKERS:
                self._all_asked.set()
        if not self._all_asked.wait(5):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not all workers have asked")
        with self._lock:
            self.users[request.user_id] += 1
        return pb.DeleteUserNotificationsResponse()

    def handler(self) -> grpc.GenericRpcHandler:
        """Return what serves the one method."""
        method = grpc.unary_unary_rpc_method_handler(
            self.delete,
            request_deserializer=pb.DeleteUserNotificationsRequest.FromString,
            response_serializer=pb.DeleteUserNotificationsResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            "vibework.notifications.v1.NotificationService", {"DeleteUserNotifications": method}
        )


@contextmanager
def deletions() -> Iterator[tuple[Deletions, str]]:
    """Serve calls; yield what was noted, and the address."""
    noted, server = Deletions(), grpc.server(ThreadPoolExecutor(WORKERS * BATCH))
    server.add_generic_rpc_handlers([noted.handler()])
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    server.start()
    try:
        yield noted, f"{LOOPBACK}:{port}"
    finally:
        server.stop(grace=None).wait()


def fill(server: MySQLServer, database: MySQLDatabase) -> None:
    """Leave calls to be made, and sessions that ended a year ago beside one that lives."""
    past, future = "NOW() - INTERVAL 1 YEAR", "NOW() + INTERVAL 1 YEAR"
    calls = ", ".join(
        f"('out_{n}', 'delete_user_notifications', '{{\"user_id\": \"user_{n}\"}}', {past})" for n in range(CALLS)
    )
    ended = ", ".join(f"('sess_{n}', 'user_1', UNHEX(SHA2('{n}', 256)), {past})" for n in range(SESSIONS))
    statements = [
        "INSERT INTO users (id, email, email_normalized) VALUES ('user_1', 'a@b.cc', 'a@b.cc')",
        f"INSERT INTO sessions (id, user_id, token_hash, expires_at) VALUES {ended}",
        f"INSERT INTO sessions (id, user_id, token_hash, expires_at) VALUES ('living', 'user_1', '', {future})",
        f"INSERT INTO outbox (id, kind, payload, available_at) VALUES {calls}",
    ]
    run_mysql(server, statements, database=database.name)


@pytest.mark.long
def test_workers_share_the_work_beside_the_calls(mysql_server: MySQLServer, mysql_database: MySQLDatabase) -> None:
    """Outbox and purge run in every worker at once, yet every call is made once and only what has ended goes."""

    def count(table: str) -> int:
        return int(run_mysql(mysql_server, [f"SELECT COUNT(*) FROM {table}"], database=mysql_database.name)[0][0])

    fill(mysql_server, mysql_database)
    with deletions() as (noted, address):
        settings = {"NOTIFICATIONS_ADDRESS": address, "OUTBOX_POLL_MS": "20", "PURGE_INTERVAL_MS": "20"}
        with workers(mysql_database, WORKERS, **settings):
            wait_for(lambda: count("outbox") == 0, "the calls")
            wait_for(lambda: count("sessions") == 1, "the purge")
    assert noted.users == Counter(f"user_{n}" for n in range(CALLS))
