"""Customers are greeted."""

from __future__ import annotations

from shop import greet
from vibework.client import Notifications, Users
from vibework.testing import Feeds, Mailbox, MakeUser, Pair
from vibework.users.v1 import VERIFICATION_DELIVERY_SEND_CODE, VERIFICATION_KIND_CODE, VerificationSecret
from vibework.users.v1 import VERIFICATION_PURPOSE_EMAIL_VERIFICATION as EMAIL_VERIFICATION


def test_a_greeting_is_in_the_feed(make_user: MakeUser, vibework_notifications: Notifications, feed: Feeds) -> None:
    """Unread, under its category."""
    ada = make_user()
    assert feed(ada).list() == []
    greet(vibework_notifications, ada)
    greeting = feed(ada).wait("Welcome")
    assert (greeting.category, greeting.read) == ("welcome", False)


def test_a_greeting_is_mailed(make_user: MakeUser, vibework_notifications: Notifications, mailbox: Mailbox) -> None:
    """To the customer's address, by name."""
    ada = make_user(name="Ada")
    greet(vibework_notifications, ada)
    mail = mailbox.wait(ada, "Welcome")
    assert mail.to == [ada.email]
    assert "Good to see you, Ada" in mail.text


def test_a_code_proves_an_address(make_user: MakeUser, vibework_users: Users, mailbox: Mailbox) -> None:
    """As the customer reads it in the mail."""
    ada = make_user(email_verified=False)
    vibework_users.create_verification(
        purpose=EMAIL_VERIFICATION,
        identifier=ada.email,
        kind=VERIFICATION_KIND_CODE,
        delivery=VERIFICATION_DELIVERY_SEND_CODE,
    )
    (code,) = mailbox.wait(ada).codes
    secret = VerificationSecret(code=VerificationSecret.CodeSecret(identifier=ada.email, code=code))
    assert vibework_users.verify_email(secret=secret).user.email_verified


def test_services_have_the_settings_of_this_project(
    vibework_pair: Pair, make_user: MakeUser, vibework_users: Users, mailbox: Mailbox
) -> None:
    """As conftest.py says, where the pair was started for these tests."""
    ada = make_user(password="correct horse battery")
    vibework_users.change_password(
        user_id=ada.id, current_password="correct horse battery", new_password="another horse battery"
    )
    if vibework_pair.is_own:
        assert "password" in mailbox.wait(ada).subject.lower()
