"""The session check, and one-click unsubscribing, for Starlette and FastAPI (``pip install vibework[starlette]``).

Every request behind a session::

    app = Starlette(routes=…, middleware=[Middleware(SessionMiddleware, check=check, open_paths=["/health"])])

    async def cart(request):
        return JSONResponse({"user": current_session().user_id})

One route of FastAPI behind a session::

    signed_in = RequireSession(check)

    @app.get("/cart")
    async def cart(session: CheckedSession = Depends(signed_in)): ...

Where ``UNSUBSCRIBE_URL`` of the notifications service points to (RFC 8058)::

    routes = [unsubscribe_route(notifications, "/unsubscribe/{token}")]

``check`` is a ``vibework.client.aio.SessionCheck``, ``notifications`` a ``vibework.client.aio.Notifications``.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from html import escape
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from vibework.client import errors
from vibework.client.aio import Notifications, SessionCheck
from vibework.client.sessions import HEADER, CheckedSession, bearer_of, current_session, within

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

# A body that says so is small (RFC 8058, section 3.2).
LARGEST_BODY: Final = 4_096
ONE_CLICK: Final = (b"List-Unsubscribe", b"One-Click")
BUTTON: Final = (
    '<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click">'
    "<button>Unsubscribe</button></form>"
)
STYLE: Final = ":root{color-scheme:light dark}body{font:1rem system-ui;margin:15vh auto;max-width:24rem;padding:1rem}"
RETRY_SECONDS: Final = "5"


class RequireSession:
    """A dependency of FastAPI: the session of a request, or 401, or 503 where the users service does not answer."""

    def __init__(self, check: SessionCheck) -> None:
        self._check = check

    async def __call__(self, request: Request) -> CheckedSession:
        """Return the session of the bearer token. Raises HTTPException."""
        return await checked(self._check, request)


async def checked(check: SessionCheck, connection: HTTPConnection) -> CheckedSession:
    """Return the session of the bearer token of a request. Raises HTTPException."""
    try:
        return await check.check(bearer_of(connection.headers.get(HEADER)))
    except (errors.SessionInvalid, errors.InvalidFields):
        raise HTTPException(401, "the session is not valid", {"WWW-Authenticate": "Bearer"}) from None
    except errors.VibeworkError:
        raise HTTPException(503, "the session cannot be checked now", {"Retry-After": RETRY_SECONDS}) from None


class SessionMiddleware:
    """Lets requests through that have a session; ``current_session()`` returns it. ``open_paths``: patterns without."""

    def __init__(self, app: ASGIApp, *, check: SessionCheck, open_paths: Iterable[str] = ()) -> None:
        self._app = app
        self._check = check
        self._open = tuple(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check a request, or the opening of a websocket."""
        if scope["type"] not in ("http", "websocket") or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            session = await checked(self._check, HTTPConnection(scope))
        except HTTPException as refused:
            await _refuse(refused, scope, receive, send)
            return
        with within(session):
            await self._app(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self._open)


async def _refuse(refused: HTTPException, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, so the client is told 403; there is no other answer.
        await send({"type": "websocket.close", "code": 1008, "reason": refused.detail})
        return
    answer = JSONResponse({"error": refused.detail}, refused.status_code, refused.headers)
    await answer(scope, receive, send)


def unsubscribe_route(notifications: Notifications, path: str = "/unsubscribe/{token}") -> Route:
    """Return a route that unsubscribes by POST, as mail programs do with one click (RFC 8058), without any login.

    GET shows a page with a button and changes nothing: programs that scan mails follow links. ``path`` has ``{token}``
    in it, or the token is the parameter ``token`` of the query.
    """

    async def answer(request: Request) -> Response:
        token = request.path_params.get("token") or request.query_params.get("token", "")
        if request.method != "POST":
            return _page("Unsubscribe?", BUTTON)
        if not _is_one_click(await _body(request)):
            return _page("This is no request to unsubscribe.", status=400)
        return await _unsubscribed(notifications, token)

    return Route(path, answer, methods=["GET", "POST"])


async def _unsubscribed(notifications: Notifications, token: str) -> Response:
    try:
        await notifications.unsubscribe(token=token)
    except errors.InvalidFields:
        return _page("This link is not whole.", status=400)
    except errors.VibeworkError:
        answer = _page("This cannot be done just now. Please try again.", status=503)
        answer.headers["Retry-After"] = RETRY_SECONDS
        return answer
    return _page("You are unsubscribed.")


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_BODY:
            break
    return body[:LARGEST_BODY]


def _is_one_click(body: bytes) -> bool:
    # As a form or in parts: RFC 8058 allows both.
    return all(word in body for word in ONE_CLICK)


def _page(text: str, form: str = "", *, status: int = 200) -> HTMLResponse:
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(text)}</title>'
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex"}
    return HTMLResponse(f"<!doctype html>{head}<style>{STYLE}</style><h1>{escape(text)}</h1>{form}", status, headers)


__all__ = [
    "CheckedSession",
    "RequireSession",
    "SessionMiddleware",
    "current_session",
    "unsubscribe_route",
]
