"""Customers are known by their sessions and their addresses."""

from __future__ import annotations

from shop import customer_of, is_customer
from vibework.client import Users
from vibework.testing import MakeUser, Pair, SignIn


def test_a_session_says_whose_it_is(signed_in: SignIn, vibework_users: Users) -> None:
    """Until it is revoked."""
    ada = signed_in()
    customer = customer_of(vibework_users, ada.token)
    assert customer is not None
    assert customer.id == ada.user.id == ada.session.user_id

    vibework_users.revoke_session(session_id=ada.session.id)
    assert customer_of(vibework_users, ada.token) is None


def test_users_are_made_for_the_test(make_user: MakeUser, signed_in: SignIn, vibework_users: Users) -> None:
    """With what the test needs, and an address that no other test has."""
    ada, bob = make_user(name="Ada", password="correct horse battery"), make_user()
    assert ada.email != bob.email
    assert vibework_users.sign_in(email=ada.email, password="correct horse battery").user.id == ada.id
    assert signed_in(bob).user.id == bob.id


async def test_addresses_are_looked_for(vibework_pair: Pair, make_user: MakeUser) -> None:
    """With a client for asyncio, which belongs to the event loop of the test."""
    ada = make_user()
    async with vibework_pair.aio_users() as users:
        assert await is_customer(users, ada.email)
        assert not await is_customer(users, "nobody@example.com")
