"""The states of a notification: every mark from every state, and any sequence of them against a plain model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from vibework.notifications.v1 import notification_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2 as service

from tests.harness.databases import MongoDatabase
from tests.harness.notifications import Notifications, threaded_notifications
from tests.integration.notifications.building import create, row

MARKS = {
    "seen": service.NOTIFICATION_MARK_SEEN,
    "unseen": service.NOTIFICATION_MARK_UNSEEN,
    "read": service.NOTIFICATION_MARK_READ,
    "unread": service.NOTIFICATION_MARK_UNREAD,
    "archived": service.NOTIFICATION_MARK_ARCHIVED,
    "unarchived": service.NOTIFICATION_MARK_UNARCHIVED,
}
# (seen, read, archived), as product and contract define them.
State = tuple[bool, bool, bool]
UNSEEN, SEEN, READ, ARCHIVED = (False, False, False), (True, False, False), (True, True, False), (True, True, True)


def after(state: State, mark: str) -> State:
    """The plain model: the state that a mark leads to."""
    seen, read, archived = state
    return {
        "seen": (True, read, archived),
        "unseen": UNSEEN,
        "read": (True, True, archived),
        "unread": SEEN,
        "archived": ARCHIVED,
        "unarchived": (seen, read, False),
    }[mark]


def state_of(notification: pb.Notification) -> State:
    """The state that a notification shows."""
    return notification.seen, notification.read, notification.archived


def times_of(notification: pb.Notification) -> tuple[bool, bool, bool]:
    """Which of the three times are set."""
    return tuple(notification.HasField(name) for name in ("seen_at", "read_at", "archived_at"))  # type: ignore[return-value]


@pytest.mark.parametrize("way", ["", "seen", "read", "archived"])
async def test_each_mark_from_each_state(notifications: Notifications, user_id: str, way: str) -> None:
    """It leads where the table says, sets each time on its transition only, and a repeat changes nothing."""
    for mark in MARKS:
        await assert_mark(notifications.feed, user_id, way, mark)


async def assert_mark(feed: Any, user_id: str, way: str, mark: str) -> None:
    """Bring a notification into a state and mark it."""
    created = (await feed.CreateNotification(create(user_id))).notification
    request = service.MarkNotificationsRequest(user_id=user_id, ids=[created.id, created.id])
    if way:
        request.mark = MARKS[way]
        await feed.MarkNotifications(request)
    get = service.GetNotificationRequest(id=created.id)
    before = (await feed.GetNotification(get)).notification
    request.mark = MARKS[mark]
    changed = (await feed.MarkNotifications(request)).changed_count
    found = (await feed.GetNotification(get)).notification
    assert state_of(found) == after(state_of(before), mark), mark
    assert changed == (state_of(found) != state_of(before))
    assert times_of(found) == state_of(found)
    for name in ("seen", "read", "archived"):
        if getattr(before, name) and getattr(found, name):
            assert getattr(found, f"{name}_at") == getattr(before, f"{name}_at")
    assert (found.etag != before.etag) == bool(changed)
    assert (await feed.MarkNotifications(request)).changed_count == 0
    assert (await feed.GetNotification(get)).notification == found


@pytest.mark.parametrize(
    "case",
    [
        ({}, UNSEEN),
        ({"read": True, "readAt": None}, READ),
        ({"read": True, "seen": False}, READ),
        ({"read": False, "archived": True}, ARCHIVED),
        ({"seen": True}, SEEN),
    ],
)
async def test_rows_of_the_other_system_move_as_ours_do(
    pymongo_notifications: Notifications, raw: Any, user_id: str, case: tuple[dict[str, Any], State]
) -> None:
    """A row with only some of the fields stands where they say, and marks and filters take it for that."""
    for mark in MARKS:
        await assert_move(pymongo_notifications.feed, raw, f"{user_id}_{mark}", case, mark)


async def assert_move(feed: Any, raw: Any, user_id: str, case: tuple[dict[str, Any], State], mark: str) -> None:
    """Store a row, mark all of the user, and ask where it stands."""
    stored, state = case
    document = row(user_id, **stored)
    raw.notifications.insert_one(document)
    get = service.GetNotificationRequest(id=str(document["_id"]))
    assert state_of((await feed.GetNotification(get)).notification) == state
    request = service.MarkAllNotificationsRequest(user_id=user_id, mark=MARKS[mark])
    changed = (await feed.MarkAllNotifications(request)).changed_count
    found = (await feed.GetNotification(get)).notification
    assert state_of(found) == after(state, mark), mark
    assert changed == (after(state, mark) != state)
    filters = [
        service.NotificationFilter(seen=True),
        service.NotificationFilter(read=True),
        service.NotificationFilter(archived=True),
        service.NotificationFilter(seen=False),
        service.NotificationFilter(read=False),
        service.NotificationFilter(archived=False),
    ]
    counts = (await feed.CountNotifications(service.CountNotificationsRequest(user_id=user_id, filters=filters))).counts
    flags = state_of(found)
    assert counts == [*flags, *(not flag for flag in flags)]


class Feed(RuleBasedStateMachine):
    """One user's feed, against a dictionary."""

    stub: Any
    names: Iterator[str]

    ids = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        """Take a user whom nobody has."""
        self.user_id = next(self.names)
        self.model: dict[str, State] = {}

    @rule(target=ids, channel=st.sampled_from([1, 2, 3]))
    def create(self, channel: int) -> str:
        """Create one."""
        created = self.stub.CreateNotification(create(self.user_id, type=channel)).notification
        self.model[created.id] = UNSEEN
        return str(created.id)

    @rule(chosen=st.lists(ids, min_size=1, max_size=4), mark=st.sampled_from(sorted(MARKS)))
    def mark(self, chosen: list[str], mark: str) -> None:
        """Mark some, among them perhaps deleted ones."""
        request = service.MarkNotificationsRequest(user_id=self.user_id, ids=chosen, mark=MARKS[mark])
        self._expect(self.stub.MarkNotifications(request).changed_count, set(chosen) & self.model.keys(), mark)

    @rule(mark=st.sampled_from(sorted(MARKS)), read=st.none() | st.booleans(), archived=st.none() | st.booleans())
    def mark_all(self, mark: str, read: bool | None, archived: bool | None) -> None:
        """Mark all that match a filter."""
        request = service.MarkAllNotificationsRequest(
            user_id=self.user_id, mark=MARKS[mark], filter=service.NotificationFilter(read=read, archived=archived)
        )
        chosen = {key for key, state in self.model.items() if read in {None, state[1]} and archived in {None, state[2]}}
        self._expect(self.stub.MarkAllNotifications(request).changed_count, chosen, mark)

    @rule(chosen=consumes(ids))
    def delete(self, chosen: str) -> None:
        """Delete one."""
        self.stub.DeleteNotification(service.DeleteNotificationRequest(id=chosen))
        del self.model[chosen]

    @invariant()
    def lists_counts_and_stats_agree(self) -> None:
        """Whatever was done: the list, the counts and the statistics say what the model says."""
        listed = self.stub.ListNotifications(service.ListNotificationsRequest(user_id=self.user_id, page_size=100))
        assert {item.id: state_of(item) for item in listed.notifications} == self.model
        seen, read, archived = (sum(state[n] for state in self.model.values()) for n in range(3))
        filters = [
            service.NotificationFilter(seen=False),
            service.NotificationFilter(read=False),
            service.NotificationFilter(archived=True),
            service.NotificationFilter(read=True, seen=False),
        ]
        request = service.CountNotificationsRequest(user_id=self.user_id, filters=filters)
        size = len(self.model)
        assert self.stub.CountNotifications(request).counts == [size - seen, size - read, archived, 0]
        total = self.stub.GetNotificationStats(service.GetNotificationStatsRequest(user_id=self.user_id)).total
        assert (total.total, total.unseen, total.unread, total.archived) == (size, size - seen, size - read, archived)

    def _expect(self, changed: int, chosen: set[str], mark: str) -> None:
        moved = {key: after(self.model[key], mark) for key in chosen}
        assert changed == sum(state != self.model[key] for key, state in moved.items())
        self.model |= moved


@pytest.mark.parametrize("driver", ["pymongo", "motor"])
@pytest.mark.parametrize("examples", [6, pytest.param(25, marks=pytest.mark.long)])
def test_any_sequence_agrees_with_a_plain_model(
    mongodb_module_database: MongoDatabase, driver: str, examples: int
) -> None:
    """No sequence of creates, marks and deletes makes states, lists, counts and statistics disagree."""
    bounded = settings(
        max_examples=examples,
        stateful_step_count=15,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with ExitStack() as stack:
        stub = stack.enter_context(threaded_notifications(mongodb_module_database, mongodb_driver=driver))
        names = iter(f"model_{driver}_{examples}_{number}" for number in range(1_000_000))
        machine = type("BoundFeed", (Feed,), {"stub": stub, "names": names})
        run_state_machine_as_test(machine, settings=bounded)
