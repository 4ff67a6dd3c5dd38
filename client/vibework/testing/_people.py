"""Users and sessions for tests, each of its own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field

from vibework.client import Users
from vibework.users.v1 import Session, User


@dataclass(frozen=True)
class SignedIn:
    """A user with a session, and the session's token."""

    user: User
    session: Session
    token: str = field(repr=False)


class MakeUser:
    """Makes users."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self.made: list[User] = []

    def __call__(
        self,
        *,
        email: str | None = None,
        name: str | None = "Test User",
        image: str | None = None,
        password: str | None = None,
        email_verified: bool = True,
    ) -> User:
        """Return a new user; without ``email`` with an address that nobody else has.

        ``password``: only who is to sign in with one needs one; hashing it takes some 50 ms.
        """
        user = self._users.create_user(
            email=email or f"test-{uuid.uuid4().hex}@example.com",
            name=name,
            image=image,
            password=password,
            email_verified=email_verified,
        ).user
        self.made.append(user)
        return user

    def delete_all(self) -> None:
        """Delete the users that were made, and what hangs on them."""
        while self.made:
            self._users.delete_user(id=self.made.pop().id, allow_missing=True)


class SignIn:
    """Signs users in."""

    def __init__(self, users: Users, make_user: MakeUser) -> None:
        self._users = users
        self._make_user = make_user

    def __call__(self, user: User | None = None) -> SignedIn:
        """Return a user with a session of its own: this one, or a new one. No password is needed."""
        user = user or self._make_user()
        created = self._users.create_session(user_id=user.id)
        return SignedIn(user, created.session, created.session_token)
