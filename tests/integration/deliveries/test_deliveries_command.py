"""`notifications-service deliveries`: the person on call sees what failed, queues it again, and cancels."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from chassis.contract.ids import new_id
from notifications_service.cli import main
from notifications_service.commands import deliveries
from notifications_service.outbox.model import AttemptEntry, Reason
from tests.harness.clocks import stored_now
from tests.harness.databases import MongoDatabase
from tests.harness.notifications import SECRET_KEYS
from tests.harness.patience import UNHURRIED
from tests.integration.deliveries.rows import delivery, mailed
from tests.integration.notifications.building import row as notification
from tests.integration.notifications.test_rotate_keys import delivering, queue

ADDRESS = "ann.unusual@example.com"
COLUMNS = 80


def command(database: MongoDatabase, *arguments: str, answer: str | None = None) -> Result:
    """Run `notifications-service deliveries …`."""
    environment = {**UNHURRIED, **database.environment()}
    return CliRunner().invoke(main, ["deliveries", *arguments], env=environment, input=answer)


def listed(database: MongoDatabase, *options: str) -> list[str]:
    """Return the ids that `list` shows."""
    result = command(database, "list", "--json", *options)
    assert result.exit_code == 0, result.output
    return [each["id"] for each in json.loads(result.stdout)["deliveries"]]


def stored(raw: Any, user_id: str = "user_1", **fields: Any) -> str:
    """Store a delivery and its notification; return its id."""
    row = delivery(user_id, **fields)
    raw.deliveries.insert_one(row)
    told = {"state": row["state"], "byChannel": {row["channel"]: {"state": row["state"], "rev": 1}}}
    raw.notifications.insert_one(notification(user_id, _id=row["notificationId"], delivery=told))
    return str(row["_id"])


def states(raw: Any) -> dict[str, str]:
    """Return the state of each delivery."""
    return {row["_id"]: row["state"] for row in raw.deliveries.find({}, {"state": 1})}


def test_filters_hold_together_and_the_newest_come_first(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """By state, channel, user, reason and age; several states or reasons are one or the other."""
    at = datetime.now(UTC)
    old = stored(raw_of_own, state="failed", reason="tls", createdAt=at - timedelta(days=2))
    new = stored(raw_of_own, state="failed", reason="auth", createdAt=at - timedelta(hours=1))
    push = stored(raw_of_own, channel="push", createdAt=at - timedelta(minutes=30))
    other = stored(raw_of_own, "user_2", createdAt=at - timedelta(minutes=10))
    assert listed(mongodb_database) == [other, push, new, old]
    assert listed(mongodb_database, "--state", "failed") == [new, old]
    assert listed(mongodb_database, "--state", "failed", "--state", "pending", "--channel", "push") == [push]
    assert listed(mongodb_database, "--reason", "tls", "--reason", "auth", "--older-than", "1d") == [old]
    assert listed(mongodb_database, "--user", "user_2") == [other]
    assert listed(mongodb_database, "--user", "nobody") == []
    assert command(mongodb_database, "list", "--user", "nobody").stdout == "no deliveries\n"


def test_a_list_goes_on_as_far_as_it_is_asked_to(
    mongodb_database: MongoDatabase, raw_of_own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pages it takes; and it says that there are more."""
    monkeypatch.setattr(deliveries, "PAGE", 2)
    ids = {stored(raw_of_own) for _ in range(7)}
    assert set(listed(mongodb_database)) == ids
    shown = command(mongodb_database, "list", "--limit", "5").stdout.splitlines()
    assert len(shown) == 1 + 5 + 1
    assert "more" in shown[-1]
    assert "more" not in command(mongodb_database, "list", "--limit", "7").stdout


def test_every_line_fits_into_a_terminal(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """Whatever state, reason, age and text a delivery has; of a page, too."""
    attempts = [
        mailed(ADDRESS, reason=Reason.CHANNEL_NOT_CONFIGURED, smtp_code=550),
        AttemptEntry(stored_now(), subscription_id=new_id("push"), reason=Reason.SUBSCRIPTION_GONE).stored(),
    ]
    long_ago = datetime.now(UTC) - timedelta(days=366)
    for reason in Reason:
        id_ = stored(
            raw_of_own,
            state="suppressed",
            reason=reason.value,
            createdAt=long_ago,
            finishedAt=datetime.now(UTC),
            reasonDetail="word " * 90 + "w" * 50,
            log=attempts,
        )
    lines = command(mongodb_database, "list").stdout.splitlines()
    assert len(lines) == 1 + len(Reason)
    lines += command(mongodb_database, "show", id_).stdout.splitlines()
    assert max(map(len, lines)) <= COLUMNS


def test_a_page_says_what_became_of_a_delivery(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """Fields, times, and each attempt with the far end's code; one that there is not is one line."""
    attempt = mailed(ADDRESS, reason=Reason.REJECTED_TEMPORARY, smtp_code=451, enhanced_status="4.7.1")
    id_ = stored(raw_of_own, deferral="retry", log=[attempt], attempts=1, reasonDetail="try later")
    page = command(mongodb_database, "show", id_).stdout
    for told in (id_, "pending", "retry", "try later", "451", "rejected_temporary", "a…@…com"):
        assert told in page
    told = json.loads(command(mongodb_database, "show", id_, "--json").stdout)
    assert (told["state"], told["log"][0]["enhanced_status"], told["due_at"][-6:]) == ("pending", "4.7.1", "+00:00")
    missing = command(mongodb_database, "show", new_id("dlv"))
    assert (missing.exit_code, len(missing.output.splitlines())) == (1, 1)


async def test_nothing_that_is_shown_is_secret(mongodb_database: MongoDatabase) -> None:
    """Neither a code, nor the address it was mailed to, nor what these are sealed or hashed to, is shown anywhere."""
    async with delivering(mongodb_database, SECRET_KEYS) as outbox:
        id_ = await queue(outbox, 1)
        await outbox.rows.update_one({"_id": id_}, {"$push": {"log": mailed("ann1@example.com")}})
        row = await outbox.rows.find_one({"_id": id_})
    assert row is not None
    secrets = ["918273", "ann1@", *(repr(bytes(value))[2:-1] for value in _binaries(row))]
    for arguments in (["list"], ["list", "--json"], ["show", id_], ["show", id_, "--json"]):
        shown = await asyncio.to_thread(command, mongodb_database, *arguments)
        assert id_ in shown.output
        assert [secret for secret in secrets if secret in shown.output] == []
    assert len(secrets) == 5


def _binaries(row: dict[str, Any]) -> list[bytes]:
    return [row["content"], row["address"], row["log"][0]["addressHash"]]


def test_what_failed_is_queued_again(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """By options what failed alone; by id also what was cancelled; the notification says so, too."""
    failed = stored(raw_of_own, state="failed", reason="tls", attempts=8)
    other = stored(raw_of_own, state="failed", reason="no_address")
    cancelled = stored(raw_of_own, state="cancelled", reason="cancelled")
    assert command(mongodb_database, "retry", "--channel", "email", "--reason", "tls").stdout == (
        "1 deliveries queued again\n"
    )
    assert states(raw_of_own) == {failed: "pending", other: "failed", cancelled: "cancelled"}
    row = raw_of_own.deliveries.find_one({"_id": failed})
    assert (row["attempts"], row.get("reason")) == (0, None)
    assert raw_of_own.notifications.find_one({"_id": row["notificationId"]})["delivery"]["state"] == "pending"
    assert command(mongodb_database, "retry", "--state", "cancelled").stdout == "1 deliveries queued again\n"
    assert command(mongodb_database, "retry", other).stdout == "1 deliveries queued again\n"
    assert set(states(raw_of_own).values()) == {"pending"}


def test_what_is_left_by_id_is_told(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """What was sent is not sent again, and an id that there is not is named; the others are done."""
    sent, failed, nothing = stored(raw_of_own, state="sent"), stored(raw_of_own, state="failed"), new_id("dlv")
    done = command(mongodb_database, "retry", sent, failed, nothing)
    assert (done.exit_code, done.stdout) == (1, "1 deliveries queued again\n")
    assert done.stderr.splitlines() == [f"{sent} left: it is sent", f"{nothing} left: there is none"]
    assert states(raw_of_own) == {sent: "sent", failed: "pending"}


def test_cancelling_asks_first_and_leaves_what_is_being_sent(mongodb_database: MongoDatabase, raw_of_own: Any) -> None:
    """Whoever says no changes nothing; many go in batches; what a worker holds may have left already."""
    waits = [stored(raw_of_own) for _ in range(3)]
    sending = stored(raw_of_own, state="sending", lease="l", leasedAt=datetime.now(UTC))
    assert command(mongodb_database, "cancel", "--channel", "email", answer="n\n").exit_code == 1
    assert set(states(raw_of_own).values()) == {"pending", "sending"}
    done = command(mongodb_database, "cancel", "--channel", "email", answer="y\n")
    assert done.stdout.endswith("3 deliveries cancelled\n")
    assert states(raw_of_own) == {**dict.fromkeys(waits, "cancelled"), sending: "sending"}
    again = command(mongodb_database, "cancel", "--yes", waits[0])
    assert (again.exit_code, again.stdout) == (0, "0 deliveries cancelled\n")


@pytest.mark.parametrize("what", ["retry", "cancel"])
def test_all_deliveries_are_never_meant_by_nothing(mongodb_database: MongoDatabase, what: str) -> None:
    """Without ids or options, or with both, it is a mistake; so is a state that there is not."""
    for arguments in ([], ["dlv_1", "--channel", "email"], ["--state", "failing"], ["--older-than", "7"]):
        assert command(mongodb_database, what, *arguments).exit_code == 2


def test_without_migrations_it_is_one_line(mongodb_empty_database: MongoDatabase) -> None:
    """A database of another version, or a wrong one, is named as such."""
    result = command(mongodb_empty_database, "list")
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
    assert "migrate up" in result.output
