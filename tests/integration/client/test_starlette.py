"""The session check and one-click unsubscribing behind Starlette."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx2
import pytest
import pytest_asyncio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from vibework.client import aio
from vibework.client.starlette import RequireSession, SessionMiddleware, current_session, unsubscribe_route
from vibework.testing.local.ports import free_port

from tests.harness.pair import Pair

pytestmark = pytest.mark.xdist_group("client")

PASSWORD = "correct horse battery"


@pytest_asyncio.fixture
async def users(pair: Pair) -> AsyncIterator[aio.Users]:
    """A client of the users service."""
    async with aio.Users.connect(pair.users) as client:
        yield client


async def whose(_: Request) -> JSONResponse:
    """Answer whose session it is, after others had their turn."""
    before = current_session().user_id
    await asyncio.sleep(0)
    assert current_session().user_id == before
    return JSONResponse(before)


async def fine(_: Request) -> JSONResponse:
    """Answer without a session."""
    return JSONResponse("fine")


def application(check: aio.SessionCheck) -> Starlette:
    """Make an application behind the check."""
    guarded = [Middleware(SessionMiddleware, check=check, open_paths=["/health"])]
    return Starlette(routes=[Route("/", whose), Route("/health", fine)], middleware=guarded)


def asking(app: Starlette) -> httpx2.AsyncClient:
    """Open a client of an application."""
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop.example.com")


async def signed_up(users: aio.Users) -> tuple[str, str]:
    """Make a user with a session; return the id and the token."""
    answer = await users.sign_up(email=f"{uuid.uuid4().hex}@example.com", password=PASSWORD)
    return answer.user.id, answer.session_token


async def test_requests_with_a_session_pass_and_others_are_401(users: aio.Users) -> None:
    """Each request has its own session, also beside others; open paths need none."""
    people = [await signed_up(users) for _ in range(3)]
    async with asking(application(aio.SessionCheck(users))) as client:
        calls = [client.get("/", headers={"Authorization": f"Bearer {token}"}) for _, token in people * 5]
        assert [answer.json() for answer in await asyncio.gather(*calls)] == [user_id for user_id, _ in people * 5]
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": f"Basic {people[0][1]}"}):
            refused = await client.get("/", headers=headers)
            assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert (await client.get("/health")).json() == "fine"


async def test_nobody_is_let_in_while_nobody_can_say() -> None:
    """503 and when to try again, in place of a pass."""
    away = f"127.0.0.1:{free_port()}"
    async with (
        aio.Users.connect(away, timeouts={"ValidateSession": 0.3}) as users,
        asking(application(aio.SessionCheck(users))) as client,
    ):
        refused = await client.get("/", headers={"Authorization": "Bearer token"})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")


async def test_a_dependency_returns_the_session(users: aio.Users) -> None:
    """What FastAPI calls for one route alone."""
    user_id, token = await signed_up(users)
    scope = {"type": "http", "headers": [(b"authorization", f"Bearer {token}".encode())]}
    assert (await RequireSession(aio.SessionCheck(users))(Request(scope))).user_id == user_id


async def test_a_websocket_without_a_session_is_not_opened(users: aio.Users) -> None:
    """The middleware guards what is no request, too."""
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "websocket.connect"}

    async def app(_: Scope, __: Receive, ___: Send) -> None:
        pytest.fail("it was let in")

    guarded = SessionMiddleware(app, check=aio.SessionCheck(users))
    await guarded({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_a_get_never_unsubscribes_and_a_post_does(pair: Pair) -> None:
    """RFC 8058: scanners follow links; a mail program posts, with no cookie and no login."""
    async with aio.Notifications.connect(pair.notifications) as notifications:
        asked: list[str] = []
        unsubscribe = notifications.unsubscribe

        async def counted(*, token: str | None = None, timeout: float | None = None) -> object:  # noqa: ASYNC109
            asked.append(token or "")
            return await unsubscribe(token=token, timeout=timeout)

        notifications.unsubscribe = counted  # type: ignore[assignment, method-assign]
        app = Starlette(routes=[unsubscribe_route(notifications, "/u/{token}"), unsubscribe_route(notifications, "/q")])
        one_click = {"List-Unsubscribe": "One-Click"}
        async with asking(app) as client:
            page = await client.get("/u/some-token")
            assert (page.status_code, asked) == (200, [])
            assert '<form method="post">' in page.text
            assert (await client.post("/u/some-token", data={"other": "thing"})).status_code == 400
            assert asked == []
            for path in ("/u/some-token", "/q?token=some-token"):
                done = await client.post(path, data=one_click)
                assert (done.status_code, "unsubscribed" in done.text) == (200, True)
            assert asked == ["some-token", "some-token"]
            assert (await client.post("/u/" + "x" * 9_000, data=one_click)).status_code == 400
