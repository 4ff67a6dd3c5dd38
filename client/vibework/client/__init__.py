"""Clients of the pair.

Calls block; ``vibework.client.aio`` has the same for asyncio.

    from vibework.client import Users, errors
    from vibework.users.v1 import UserFilter

    with Users.connect("127.0.0.1:50051") as users:
        users.create_user(email="ada@example.com", password="correct horse battery", name="Ada")
        try:
            signed_in = users.sign_in(email="ada@example.com", password="a wrong guess")
        except errors.CredentialsInvalid:
            ...
        for user in users.list_users(filter=UserFilter(email_ends_with="@example.com")):
            print(user.id)

A method stands for each RPC, with the fields of its request as arguments; times, spans, masks and objects may be given
as Python has them. Creations get a ``request_id``, which is kept over repetitions, so that they happen once. Every
error is an exception of ``vibework.client.errors``.
"""

from __future__ import annotations

from vibework.client import errors
from vibework.client._blocking import Pager, Watch
from vibework.client._channels import ACCEPTING, TLS, Token, channel_options, service_config
from vibework.client._generated.notifications import NotificationsCalls
from vibework.client._generated.users import UsersCalls
from vibework.client._retrying import RetryPolicy


class Users(UsersCalls):
    """A client of the users service: users, sessions, accounts and verifications. ``Users.connect`` makes one."""


class Notifications(NotificationsCalls):
    """A client of the notifications service. ``Notifications.connect`` makes one."""


__all__ = [
    "ACCEPTING",
    "TLS",
    "Notifications",
    "Pager",
    "RetryPolicy",
    "Token",
    "Users",
    "Watch",
    "channel_options",
    "errors",
    "service_config",
]
