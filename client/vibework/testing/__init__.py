"""The real pair in your tests: a plugin of pytest, and containers.

The plugin is there once ``pip install 'vibework[testing]'`` is done; docs/testing.md shows what it gives. The names
here are for annotations:

    from vibework.testing import Feeds, Mailbox, MakeUser, SignIn

    def test_a_new_user_is_welcomed(make_user: MakeUser, mailbox: Mailbox, feed: Feeds) -> None:
        ada = make_user(name="Ada")
        welcome(ada)
        assert mailbox.wait(ada).subject == "Welcome"
        assert feed(ada).wait("Welcome").category == "welcome"
"""

from __future__ import annotations

from vibework.testing._feeds import Feed, Feeds
from vibework.testing._mails import Mail, Mailbox, NoMails
from vibework.testing._pair import Pair
from vibework.testing._people import MakeUser, SignedIn, SignIn
from vibework.testing._sources import PairNotFound

__all__ = [
    "Feed",
    "Feeds",
    "Mail",
    "Mailbox",
    "MakeUser",
    "NoMails",
    "Pair",
    "PairNotFound",
    "SignIn",
    "SignedIn",
]
