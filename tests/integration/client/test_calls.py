"""The client against both services: what callers write first."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from vibework.client import Notifications, Users, aio, errors
from vibework.notifications.v1 import NOTIFICATION_TYPE_IN_APP, NotificationContent, NotificationFilter
from vibework.testing.local.ports import free_port
from vibework.users.v1 import User, UserFilter

from tests.harness.pair import Pair
from tests.harness.proxy import proxy_to

pytestmark = pytest.mark.xdist_group("client")

# Seconds: for a call that is not answered, and none at all.
HASTE, NO_TIME = 0.1, 0.0
PASSWORD = "correct horse battery"


def email() -> str:
    """Make an address that nobody has."""
    return f"{uuid.uuid4().hex}@example.com"


def content(title: str) -> NotificationContent:
    """Make what a notification says."""
    return NotificationContent(title=title, message="text", type=NOTIFICATION_TYPE_IN_APP)


@pytest.fixture
def users(pair: Pair) -> Iterator[Users]:
    """A client of the users service."""
    with Users.connect(pair.users) as client:
        yield client


@pytest.fixture
def notifications(pair: Pair) -> Iterator[Notifications]:
    """A client of the notifications service."""
    with Notifications.connect(pair.notifications) as client:
        yield client


def test_errors_are_exceptions_by_reason(users: Users) -> None:
    """A caller catches what it expects, and reads fields, variables and the request's id without knowing gRPC."""
    address = email()
    created = users.create_user(email=address, password=PASSWORD)
    with pytest.raises(errors.EmailTaken) as taken:
        users.create_user(email=address.upper(), password=PASSWORD)
    assert taken.value.request_id
    with pytest.raises(errors.InvalidFields) as invalid:
        users.sign_up(email="ada", password="short")
    assert {each.field for each in invalid.value.field_violations} == {"email", "password"}
    with pytest.raises(errors.UserNotFound) as missing:
        users.get_user(id="user_nobody")
    assert missing.value.metadata == {"id": "user_nobody"}
    with pytest.raises(errors.CredentialsInvalid):
        users.sign_in(email=address, password="another one")
    with pytest.raises(errors.EtagMismatch) as outdated:
        users.update_user(user=User(id=created.user.id, name="Ada", etag="0."), update_mask=["name"])
    assert outdated.value.metadata == {"current_etag": created.user.etag}


def test_lists_are_read_page_by_page(users: Users) -> None:
    """`for user in …` sees each user once, whatever the size of a page; times are given as Python has them."""
    domain = f"@{uuid.uuid4().hex}.example.com"
    made = {users.create_user(email=f"{number}{domain}").user.id for number in range(7)}
    wanted = UserFilter(email_ends_with=domain)
    listed = users.list_users(filter=wanted, page_size=3)
    assert [user.id for user in listed] == sorted(made, reverse=True)
    assert [len(page.users) for page in listed.pages()] == [3, 3, 1]
    later = UserFilter(email_ends_with=domain)
    later.created_after.FromDatetime(datetime.now(UTC) + timedelta(days=1))
    assert list(users.list_users(filter=later)) == []


def test_a_request_id_makes_a_creation_happen_once(notifications: Notifications, users: Users) -> None:
    """The client gives one to each creation; a caller that repeats by itself gives its own."""
    user_id = users.create_user(email=email()).user.id
    own = str(uuid.uuid4())
    first = notifications.create_notification(user_id=user_id, content=content("one"), request_id=own)
    assert notifications.create_notification(user_id=user_id, content=content("one"), request_id=own) == first
    notifications.create_notification(user_id=user_id, content=content("one"))
    titles = [each.title for each in notifications.list_notifications(user_id=user_id)]
    assert titles == ["one", "one"]


async def test_the_same_for_asyncio(pair: Pair) -> None:
    """Nothing differs but `await`."""
    async with aio.Users.connect(pair.users) as users, aio.Notifications.connect(pair.notifications) as notifications:
        user = (await users.create_user(email=email(), password=PASSWORD)).user
        with pytest.raises(errors.EmailTaken):
            await users.create_user(email=user.email)
        for number in range(5):
            await notifications.create_notification(user_id=user.id, content=content(str(number)))
        listed = notifications.list_notifications(user_id=user.id, page_size=2)
        assert [each.title async for each in listed] == ["4", "3", "2", "1", "0"]
        unread = notifications.list_notifications(user_id=user.id, filter=NotificationFilter(read=True))
        assert [each async for each in unread] == []


def test_a_service_that_is_away_is_unreachable() -> None:
    """The time that a call has holds for all its repetitions, and the exception says that nobody answered."""
    with Users.connect(f"127.0.0.1:{free_port()}", timeouts={"GetUser": 0.5}) as users:
        with pytest.raises((errors.ServiceUnreachable, errors.DeadlineExceeded)):
            users.get_user(id="user_1")
        users.close()
        with pytest.raises(errors.MisusedClient):
            users.get_user(id="user_1")


def test_another_address_takes_over_from_one_that_is_away(pair: Pair) -> None:
    """Of two servers one may be gone: what may be repeated is answered by the other."""
    with Users.connect([f"127.0.0.1:{free_port()}", pair.users], connections=2) as users:
        made = users.create_user(email=email()).user
        for _ in range(8):
            assert users.get_user(id=made.id).user == made


def test_deadlines_are_the_callers(pair: Pair) -> None:
    """A time that cannot be met is told as such, and one that is none is refused."""
    host, _, port = pair.users.rpartition(":")
    with proxy_to(host, int(port)) as proxy, Users.connect(f"{host}:{proxy.listens}") as users:
        users.list_users().pages().__next__()
        proxy.freeze()
        with pytest.raises(errors.DeadlineExceeded) as late:
            users.list_users(timeout=HASTE).pages().__next__()
        assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(ValueError, match="timeout"):
            users.get_user(id="user_1", timeout=NO_TIME)
