"""A request for every RPC of the users service that finds what it names: a user, a session, an account."""

from __future__ import annotations

from typing import Any, Final

import grpc
from vibework.users.v1.account_service_pb2 import LinkAccountRequest, ProviderAccount
from vibework.users.v1.session_service_pb2 import SignUpRequest

from tests.contract.requests import NOBODY, PASSWORD, PROVIDER, USERS
from tests.harness.storm import Rpc, rpcs_of
from tests.harness.users import BlockingStubs

PACKAGE: Final = "vibework.users.v1"
# Whom a call may delete while the others need somebody.
NOBODY_ELSE: Final = "user_01jd0000000000000000000001"
CHANGED: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "UserService/DeleteUser": ({"id": NOBODY_ELSE}, ""),
    "AccountService/UnlinkAccount": ({"userId": NOBODY, "id": "acct_none"}, ""),
}


def rpcs_of_users(channel: grpc.Channel) -> list[Rpc]:
    """Make a user with a password, a session and a provider's account; return the RPCs, whose requests name them."""
    stubs = BlockingStubs.on(channel)
    signed_up = stubs.sessions.SignUp(SignUpRequest(email="ann@example.com", password=PASSWORD))
    linked = stubs.accounts.LinkAccount(
        LinkAccountRequest(
            user_id=signed_up.user.id,
            account=ProviderAccount(provider=PROVIDER["provider"], account_id=PROVIDER["accountId"]),
        )
    )
    known = {NOBODY: signed_up.user.id, "x": signed_up.session_token, "acct_x": linked.account.id}
    return rpcs_of(PACKAGE, USERS | CHANGED, known)
