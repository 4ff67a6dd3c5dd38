"""What both databases hold of a history, read past the services."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

from notifications_service.notification.schema import PUSH_SUBSCRIPTIONS
from tests.harness.history.record import Change, History, Stored
from tests.harness.patience import PATIENCE_SECONDS
from tests.reliability.cluster import Cluster, Small
from tests.reliability.load.objects import image_of, nonce_of

# How long events between the services may take to be told, in seconds.
TOLD_SECONDS: Final = PATIENCE_SECONDS


def stored(cluster: Cluster | Small, name: str) -> Stored:
    """Read what the calls of a history, whose nonces begin with a name, have made."""
    like = f"'{name}%'"
    rows: dict[str, dict[str, str]] = {
        "users": {
            id_: nonce_of(image)
            for id_, image in cluster.rows(f"SELECT id, image FROM users WHERE image LIKE '{image_of(name)}%'")
        },
        "sessions": dict(cluster.rows(f"SELECT id, user_agent FROM sessions WHERE user_agent LIKE {like}")),
        "accounts": dict(
            cluster.rows(f"SELECT id, account_id FROM accounts WHERE provider = 'github' AND account_id LIKE {like}")
        ),
    }
    with cluster.collections() as database:
        rows["notifications"] = _by_id(database.notifications, "threadKey", name)
        rows["push subscriptions"] = _by_id(database[PUSH_SUBSCRIPTIONS], "userAgent", name)
        direct = database.deliveries.find({"kind": "direct", "expiresAt": {"$exists": True}}, {"expiresAt": 1})
        rows["deliveries"] = {str(row["_id"]): _milliseconds(row["expiresAt"]) for row in direct}
        rows["notifications of users"] = {
            str(user_id): ""
            for user_id in database.notifications.distinct("userId", {"threadKey": {"$regex": f"^{name}n"}})
        }
    return Stored(rows)


def _by_id(collection: Any, field: str, name: str) -> dict[str, str]:
    found = collection.find({field: {"$regex": f"^{name}"}}, {field: 1})
    return {str(row["_id"]): row[field] for row in found}


def _milliseconds(time_: Any) -> str:
    return str(round(time_.timestamp() * 1_000))


def settle(cluster: Cluster | Small) -> int:
    """Wait until the users service has told the other all that it had to; return how many events it still has to.

    None waits for its pause, which grows while the other service is away, or for the lease of a process that is gone.
    """
    end = time.monotonic() + TOLD_SECONDS
    hurried = "UPDATE outbox SET available_at = UTC_TIMESTAMP(6), leased_until = NULL WHERE id = '{}'"
    # A lease is of a minute, of which a process that works on events takes a moment.
    is_old = "leased_until < UTC_TIMESTAMP(6) + INTERVAL 50 SECOND"
    later = f"SELECT id FROM outbox WHERE available_at > UTC_TIMESTAMP(6) OR {is_old}"
    while (left := int(cluster.rows("SELECT COUNT(*) FROM outbox")[0][0])) and time.monotonic() < end:
        time.sleep(1.0)
        # One by one: more at once might lock what a relay locks the other way round.
        for (id_,) in cluster.rows(later):
            cluster.rows(hurried.format(id_))
    return left


def unacknowledged(history: History, found: Stored, name: str) -> Iterator[Change]:
    """Yield the creations that are there, whoever heard of them: watchers must have been told of them, too."""
    told = {(each.kind, each.id) for each in history.changes}
    streams = next((each.streams for each in history.changes if each.kind == "changed"), ())
    first = {each.id: each.revision for each in history.told if each.kind == "created"}
    for id_, nonce in found.of("users").items():
        if nonce.startswith(f"{name}n") and ("created", id_) not in told:
            yield Change("created", id_, first.get(id_, 1), streams)
