"""The plugin of pytest: options, and the fixtures of docs/testing.md.

It is loaded by every run of pytest in an environment with this package, so it imports the rest when a fixture asks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from vibework.client import Notifications, Users
    from vibework.testing import Feeds, Mailbox, MakeUser, Pair, SignIn


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--vibework-pair`, and a setting of the configuration for each environment variable."""
    from vibework.testing._settings import PREFIX, described

    group = parser.getgroup("vibework", "the pair of VibeWork services")
    group.addoption("--vibework-pair", default="", metavar="FROM", help="running, local or containers")
    for name, what, default in described():
        shown = f" Default: {default}." if default else ""
        parser.addini(f"{PREFIX}{name}", f"{what}{shown}", default="")


@contextmanager
def _as_errors_of_the_test() -> Iterator[None]:
    """What is not there, or does not start, is said without a traceback through this plugin; it is no skip."""
    from vibework.testing._mails import NoMails
    from vibework.testing._sources import PairNotFound
    from vibework.testing.local.problems import LocalProblem

    try:
        yield
    except (PairNotFound, NoMails, LocalProblem) as problem:
        told = f"vibework: {problem}\n{getattr(problem, 'detail', '')}".rstrip()
        raise pytest.fail.Exception(told, pytrace=False) from None


@pytest.fixture(scope="session")
def vibework_settings() -> Mapping[str, str]:
    """Settings of both services, such as `{"NOTICES": "welcome"}`: override this fixture to have some.

    A pair that ran before has its own.
    """
    return {}


@pytest.fixture(scope="session")
def vibework_pair(
    pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, vibework_settings: Mapping[str, str]
) -> Iterator[Pair]:
    """The pair of this run: where both services are, and clients of them."""
    with _as_errors_of_the_test():
        from vibework.testing._settings import Settings
        from vibework.testing._sources import opened

        forced = {"VIBEWORK_PAIR": wanted} if (wanted := pytestconfig.getoption("--vibework-pair")) else {}
        settings = Settings.read({**os.environ, **forced}, pytestconfig.getini)
        with opened(settings, tmp_path_factory.mktemp("vibework"), vibework_settings) as pair:
            yield pair


@pytest.fixture(scope="session")
def vibework_users(vibework_pair: Pair) -> Iterator[Users]:
    """A client of the users service; `vibework_pair.aio_users()` makes one for asyncio."""
    with vibework_pair.users() as users:
        yield users


@pytest.fixture(scope="session")
def vibework_notifications(vibework_pair: Pair) -> Iterator[Notifications]:
    """A client of the notifications service; `vibework_pair.aio_notifications()` makes one for asyncio."""
    with vibework_pair.notifications() as notifications:
        yield notifications


@pytest.fixture
def make_user(vibework_pair: Pair, vibework_users: Users) -> Iterator[MakeUser]:
    """`make_user(name="Ada")` makes a user whom no other test has."""
    from vibework.testing import MakeUser

    make = MakeUser(vibework_users)
    yield make
    if not vibework_pair.is_own:
        make.delete_all()


@pytest.fixture
def signed_in(vibework_users: Users, make_user: MakeUser) -> SignIn:
    """`signed_in()` gives a user with a session and its token; `signed_in(ada)` a session for that user."""
    from vibework.testing import SignIn

    return SignIn(vibework_users, make_user)


@pytest.fixture
def mailbox(vibework_pair: Pair) -> Mailbox:
    """`mailbox.wait(ada)` is the newest mail to a user, `mailbox.of(ada)` all of them."""
    from vibework.testing import Mailbox

    with _as_errors_of_the_test():
        return Mailbox(vibework_pair.mails)


@pytest.fixture
def feed(vibework_notifications: Notifications) -> Feeds:
    """`feed(ada).list()` is what a user was notified of, `feed(ada).wait("A title")` waits for it."""
    from vibework.testing import Feeds

    return Feeds(vibework_notifications)
