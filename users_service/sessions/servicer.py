"""SessionService on the wire: each method converts, calls and converts back."""

from __future__ import annotations

from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import session_service_pb2_grpc as pb_grpc

from chassis.contract.keyset import Pages, TimeAndId
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from users_service.sessions import lifetime
from users_service.sessions.creation import SessionCreation
from users_service.sessions.messages import fill
from users_service.sessions.password_sign_in import PasswordSignIn
from users_service.sessions.refreshing import SessionRefresh
from users_service.sessions.service import SessionService
from users_service.users.messages import fill as fill_user


class SessionServicer(pb_grpc.SessionServiceServicer):
    """Answers the RPCs of SessionService."""

    def __init__(
        self,
        sessions: SessionService,
        creation: SessionCreation,
        refresh: SessionRefresh,
        sign_in: PasswordSignIn,
        pages: Pages[TimeAndId],
    ) -> None:
        self._sessions = sessions
        self._creation = creation
        self._refresh = refresh
        self._sign_in = sign_in
        self._pages = pages

    async def SignUp(self, request: pb.SignUpRequest, context: Context) -> pb.SignUpResponse:
        """Create a user with a password and a session."""
        return await self._creation.sign_up(request)

    async def SignIn(self, request: pb.SignInRequest, context: Context) -> pb.SignInResponse:
        """Check a password and create a session."""
        return await self._sign_in.sign_in(request)

    async def CreateSession(self, request: pb.CreateSessionRequest, context: Context) -> pb.CreateSessionResponse:
        """Create a session for a user whom the caller vouches for."""
        return await self._creation.create(request)

    async def ValidateSession(self, request: pb.ValidateSessionRequest, context: Context) -> pb.ValidateSessionResponse:
        """Return the session of a token, and its user."""
        session, now = await self._sessions.validate(request.session_token)
        response = pb.ValidateSessionResponse(refresh_due=lifetime.refresh_due(session, now))
        fill(response.session, session, now)
        if request.include_user:
            fill_user(response.user, await self._sessions.user_of(session))
        return response

    async def RefreshSession(self, request: pb.RefreshSessionRequest, context: Context) -> pb.RefreshSessionResponse:
        """Extend a session, and replace its token when asked."""
        return await self._refresh.refresh(request)

    async def ListSessions(self, request: pb.ListSessionsRequest, context: Context) -> pb.ListSessionsResponse:
        """List the sessions of a user: the live ones, or all."""
        page = await self._sessions.list_sessions(
            request.user_id,
            current_token=request.current_session_token,
            after=self._pages.after(request),
            size=page_size(request.page_size),
            include_ended=request.include_ended,
        )
        response = pb.ListSessionsResponse(next_page_token=self._pages.token(request, page.last))
        for session in page.sessions:
            fill(response.sessions.add(), session, page.now, current=session.id == page.current_id)
        return response

    async def RevokeSession(self, request: pb.RevokeSessionRequest, context: Context) -> pb.RevokeSessionResponse:
        """End one session, by id or by token."""
        if request.WhichOneof("lookup") == "session_id":
            count = await self._sessions.revoke(request.session_id, request.user_id)
        else:
            count = await self._sessions.sign_out(request.session_token, request.user_id)
        return pb.RevokeSessionResponse(revoked_count=count)

    async def RevokeOtherSessions(
        self, request: pb.RevokeOtherSessionsRequest, context: Context
    ) -> pb.RevokeOtherSessionsResponse:
        """End all sessions of a user but the token's."""
        done = await self._sessions.revoke_others(request.session_token)
        return pb.RevokeOtherSessionsResponse(revoked_count=done.changed, incomplete=done.incomplete)

    async def RevokeAllSessions(
        self, request: pb.RevokeAllSessionsRequest, context: Context
    ) -> pb.RevokeAllSessionsResponse:
        """End all sessions of a user."""
        done = await self._sessions.revoke_all(request.user_id)
        return pb.RevokeAllSessionsResponse(revoked_count=done.changed, incomplete=done.incomplete)
