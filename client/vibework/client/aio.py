"""Clients of the pair for asyncio.

A client belongs to the event loop in which it was made.

    from vibework.client import errors
    from vibework.client.aio import Users
    from vibework.users.v1 import UserFilter

    async with Users.connect("127.0.0.1:50051") as users:
        await users.create_user(email="ada@example.com", password="correct horse battery", name="Ada")
        try:
            signed_in = await users.sign_in(email="ada@example.com", password="a wrong guess")
        except errors.CredentialsInvalid:
            ...
        async for user in users.list_users(filter=UserFilter(email_ends_with="@example.com")):
            print(user.id)

A method stands for each RPC, with the fields of its request as arguments; times, spans, masks and objects may be given
as Python has them. Creations get a ``request_id``, which is kept over repetitions, so that they happen once. Every
error is an exception of ``vibework.client.errors``.
"""

from __future__ import annotations

from vibework.client._aio_sessions import SessionCheck, SessionInterceptor
from vibework.client._asyncio import Pager, Watch
from vibework.client._generated.aio_notifications import NotificationsCalls
from vibework.client._generated.aio_users import UsersCalls


class Users(UsersCalls):
    """A client of the users service: users, sessions, accounts and verifications. ``Users.connect`` makes one."""


class Notifications(NotificationsCalls):
    """A client of the notifications service. ``Notifications.connect`` makes one."""


__all__ = ["Notifications", "Pager", "SessionCheck", "SessionInterceptor", "Users", "Watch"]
