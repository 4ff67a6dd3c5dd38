"""Servicers that lack methods: those are refused, and a service that has none is not serving under its name."""

from __future__ import annotations

from typing import Any

import pytest
from vibework.users.v1 import session_service_pb2_grpc as sessions
from vibework.users.v1 import user_service_pb2_grpc as users

from chassis.errors import NotImplementedYet
from chassis.serving.health import NOT_SERVING, SERVING, Health
from chassis.serving.registration import is_unbuilt, partly_built, record, unbuilt_services

SESSIONS, USERS = "vibework.users.v1.SessionService", "vibework.users.v1.UserService"


class OneMethod(users.UserServiceServicer):
    """Has one method of many, another one by its base."""

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Answer."""


async def test_a_method_that_a_servicer_lacks_is_refused() -> None:
    """Unary ones and streams alike; those that it has are its own."""
    services = record([(users.add_UserServiceServicer_to_server, partly_built(OneMethod)())])
    handlers = services[USERS]
    assert {name for name, handler in handlers.items() if not is_unbuilt(handler)} == {"GetUser"}
    for behaviour in (handlers["DeleteUser"].unary_unary, handlers["WatchUsers"].unary_stream):
        with pytest.raises(NotImplementedYet) as caught:
            await behaviour(None, None)
        assert (caught.value.field, caught.value.message) == (None, "not implemented yet")


def test_a_service_none_of_whose_methods_is_built_is_not_serving() -> None:
    """It and nobody else, and whatever the database does."""
    nothing = partly_built(sessions.SessionServiceServicer)()
    recorded = record(
        [
            (users.add_UserServiceServicer_to_server, partly_built(OneMethod)()),
            (sessions.add_SessionServiceServicer_to_server, nothing),
        ]
    )
    unbuilt = unbuilt_services(recorded)
    assert unbuilt == {SESSIONS}
    health = Health(recorded, unbuilt)
    health.set_serving(True)
    assert [health.status(name) for name in ("", USERS, SESSIONS)] == [SERVING, SERVING, NOT_SERVING]


class AnotherMethod(users.UserServiceServicer):
    """Has another method, and one that the first has, too."""

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Answer."""

    async def DeleteUser(self, request: Any, context: Any) -> Any:
        """Answer."""


def test_servicers_may_share_a_service() -> None:
    """Each brings the methods that it has, in whatever order; of two that have one, the first counts."""
    one, another = partly_built(OneMethod)(), partly_built(AnotherMethod)()
    add = users.add_UserServiceServicer_to_server
    for servicers in ((one, another), (another, one)):
        handlers = record([(add, servicer) for servicer in servicers])[USERS]
        assert {name for name, handler in handlers.items() if not is_unbuilt(handler)} == {"GetUser", "DeleteUser"}
        assert handlers["GetUser"].unary_unary.__self__ is servicers[0]
