"""A reference: the hot reads as most would write them first, with SQLAlchemy's ORM and a session per call.

Run as a process of its own, with the users service's MYSQL_* settings.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from typing import Any

import grpc
import uvloop
from sqlalchemy import URL, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import registry
from vibework.users.v1 import GetUserRequest, GetUserResponse, ValidateSessionRequest, ValidateSessionResponse

from tests.bench.calls import POOL_SIZE
from users_service import tables


class User:
    """A row of ``users``."""


class Session:
    """A row of ``sessions``."""


Sessions = async_sessionmaker[AsyncSession]


class Handlers:
    """The two methods, on one engine."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def get_user(self, request: GetUserRequest, _: Any) -> GetUserResponse:
        """Load the user and answer with it."""
        async with self._sessions() as database:
            user: Any = await database.get(User, request.id)
        response = GetUserResponse()
        found = response.user
        found.id, found.email, found.name, found.image = user.id, user.email, user.name or "", user.image or ""
        found.email_verified = bool(user.email_verified)
        found.created_at.FromDatetime(user.created_at)
        found.updated_at.FromDatetime(user.updated_at)
        found.etag = str(user.revision)
        return response

    async def validate_session(self, request: ValidateSessionRequest, _: Any) -> ValidateSessionResponse:
        """Load the session of the token and answer with it."""
        wanted = hashlib.sha256(request.session_token.encode()).digest()
        async with self._sessions() as database:
            row: Any = await database.scalar(select(Session).where(tables.sessions.c.token_hash == wanted))
        response = ValidateSessionResponse()
        found = response.session
        found.id, found.user_id = row.id, row.user_id
        found.ip_address, found.user_agent = row.ip_address, row.user_agent
        for name in ("created_at", "expires_at", "absolute_expires_at", "last_seen_at"):
            getattr(found, name).FromDatetime(getattr(row, name))
        return response


def register(server: Any, path: str, handler: Any, request: Any, response: Any) -> None:
    """Register one method, as a generated function does."""
    service, method = path.split("/")
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            handler, request_deserializer=request.FromString, response_serializer=response.SerializeToString
        )
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    server.add_registered_method_handlers(service, handlers)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    mapper = registry()
    mapper.map_imperatively(User, tables.users)
    mapper.map_imperatively(Session, tables.sessions)
    url = URL.create(
        "mysql+asyncmy",
        os.environ["MYSQL_USER"],
        os.environ["MYSQL_PASSWORD"],
        os.environ["MYSQL_HOST"],
        int(os.environ["MYSQL_PORT"]),
        os.environ["MYSQL_DATABASE"],
    )
    sessions = async_sessionmaker(create_async_engine(url, pool_size=POOL_SIZE, max_overflow=0))
    handlers = Handlers(sessions)
    validate = ("vibework.users.v1.SessionService/ValidateSession", handlers.validate_session)
    get_user = ("vibework.users.v1.UserService/GetUser", handlers.get_user)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    register(server, *validate, ValidateSessionRequest, ValidateSessionResponse)
    register(server, *get_user, GetUserRequest, GetUserResponse)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
