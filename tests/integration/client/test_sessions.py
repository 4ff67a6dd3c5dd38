"""The session check that other services drop in: a good token passes with its session, and nothing else does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from vibework.client import Users, aio
from vibework.client.sessions import SessionCheck, SessionInterceptor, SessionRequired, current_session
from vibework.testing.local.ports import free_port

from tests.harness.pair import Pair
from tests.harness.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("client")

PASSWORD = "correct horse battery"
UNARY, STREAM = "/shop.Cart/Get", "/shop.Cart/List"


class Handlers(grpc.GenericRpcHandler):
    """Somebody else's service: it answers whose cart it is."""

    def __init__(self, *, asynchronous: bool) -> None:
        self._asynchronous = asynchronous

    def service(self, handler_call_details: Any) -> Any:
        """Return the handler of a method."""
        coded: dict[str, Any] = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        if handler_call_details.method == UNARY:
            return grpc.unary_unary_rpc_method_handler(_aget if self._asynchronous else _get, **coded)
        return grpc.unary_stream_rpc_method_handler(_alist if self._asynchronous else _list, **coded)


def _get(_: Any, __: Any) -> StringValue:
    return StringValue(value=current_session().user_id)


def _list(_: Any, __: Any) -> Iterator[StringValue]:
    yield StringValue(value=current_session().user_id)


async def _aget(_: Any, __: Any) -> StringValue:
    return StringValue(value=current_session().user_id)


async def _alist(_: Any, __: Any) -> Any:
    yield StringValue(value=current_session().user_id)


def ask(address: str, method: str, *headers: tuple[str, str]) -> str:
    """Call the other service; return what it answers, or the code."""
    coded: dict[str, Any] = {
        "request_serializer": StringValue.SerializeToString,
        "response_deserializer": StringValue.FromString,
    }
    with grpc.insecure_channel(address) as channel:
        try:
            if method == UNARY:
                answer = channel.unary_unary(method, **coded)(StringValue(), metadata=headers, timeout=PATIENCE_SECONDS)
            else:
                (answer,) = channel.unary_stream(method, **coded)(
                    StringValue(), metadata=headers, timeout=PATIENCE_SECONDS
                )
        except grpc.RpcError as error:
            return str(error.code().name)
    return str(answer.value)


@contextmanager
def other_service(check: SessionCheck) -> Iterator[str]:
    """Run somebody else's service behind the check."""
    server = grpc.server(futures.ThreadPoolExecutor(2), interceptors=[SessionInterceptor(check)])
    server.add_generic_rpc_handlers([Handlers(asynchronous=False)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def signed_up(users: Users) -> tuple[str, str]:
    """Make a user with a session; return the id and the token."""
    answer = users.sign_up(email=f"{uuid.uuid4().hex}@example.com", password=PASSWORD)
    return answer.user.id, answer.session_token


@pytest.mark.parametrize("method", [UNARY, STREAM])
def test_a_good_token_passes_with_its_session_and_nothing_else_does(pair: Pair, method: str) -> None:
    """Handlers read whose session it is; a wrong token, another scheme and no token are answered alike."""
    with Users.connect(pair.users) as users, other_service(SessionCheck(users)) as address:
        user_id, token = signed_up(users)
        assert ask(address, method, ("authorization", f"Bearer {token}")) == user_id
        assert ask(address, method, ("authorization", f"bearer  {token}")) == user_id
        for wrong in (f"Basic {token}", "Bearer", "Bearer nonsense", f"Bearer {'x' * 300}", ""):
            assert ask(address, method, ("authorization", wrong)) == "UNAUTHENTICATED"
        assert ask(address, method) == "UNAUTHENTICATED"


def test_a_sign_out_holds_at_once_where_nothing_is_cached(pair: Pair) -> None:
    """The documented delay is the cache's: none without one, and none where this process forgets the token."""
    with Users.connect(pair.users) as users:
        _, token = signed_up(users)
        cached, uncached = SessionCheck(users, cache_seconds=300), SessionCheck(users, cache_seconds=0)
        for check in (cached, uncached):
            check.check(token)
        users.revoke_session(session_token=token)
        with pytest.raises(Exception, match="SESSION_INVALID"):
            uncached.check(token)
        assert cached.check(token).session.id
        cached.forget(token)
        with pytest.raises(Exception, match="SESSION_INVALID"):
            cached.check(token)


def test_nobody_is_let_in_while_nobody_can_say() -> None:
    """The users service away: UNAVAILABLE, which a caller may repeat, and never a pass."""
    with (
        Users.connect(f"127.0.0.1:{free_port()}", timeouts={"ValidateSession": 0.3}) as users,
        other_service(SessionCheck(users)) as address,
    ):
        assert ask(address, UNARY, ("authorization", "Bearer token")) == "UNAVAILABLE"


def test_code_outside_of_a_call_has_no_session() -> None:
    """A mistake is told, and never becomes somebody's session."""
    with pytest.raises(SessionRequired):
        current_session()


async def test_the_same_for_asyncio(pair: Pair) -> None:
    """Both kinds of handlers have the session of their own call."""
    async with aio.Users.connect(pair.users) as users:
        server = grpc.aio.server(interceptors=[aio.SessionInterceptor(aio.SessionCheck(users, include_user=True))])
        server.add_generic_rpc_handlers([Handlers(asynchronous=True)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        made = await users.sign_up(email=f"{uuid.uuid4().hex}@example.com", password=PASSWORD)
        coded: dict[str, Any] = {
            "request_serializer": StringValue.SerializeToString,
            "response_deserializer": StringValue.FromString,
        }
        good = (("authorization", f"Bearer {made.session_token}"),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            got = await channel.unary_unary(UNARY, **coded)(StringValue(), metadata=good, timeout=PATIENCE_SECONDS)
            listed = [each async for each in channel.unary_stream(STREAM, **coded)(StringValue(), metadata=good)]
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary(UNARY, **coded)(StringValue(), timeout=PATIENCE_SECONDS)
        await server.stop(None)
    assert [got.value, *(each.value for each in listed)] == [made.user.id, made.user.id]
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
