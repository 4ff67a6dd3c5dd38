"""Conversion of sessions to messages of the contract, and of requests to the model."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_pb2

from chassis.contract.timestamps import assign
from users_service.sessions import lifetime
from users_service.sessions.model import (
    ADDRESS_PROVED,
    PASSWORD_CHANGED,
    PASSWORD_RESET,
    REVOKED,
    SIGNED_OUT,
    STOLEN,
    USER_DISABLED,
    AuthenticationMethod,
    ClientDetails,
    Session,
)

METHODS: Final = {
    None: pb.AUTHENTICATION_METHOD_UNSPECIFIED,
    AuthenticationMethod.PASSWORD: pb.AUTHENTICATION_METHOD_PASSWORD,
    AuthenticationMethod.ACCOUNT: pb.AUTHENTICATION_METHOD_ACCOUNT,
    AuthenticationMethod.VERIFICATION: pb.AUTHENTICATION_METHOD_VERIFICATION,
    AuthenticationMethod.CALLER: pb.AUTHENTICATION_METHOD_CALLER,
    AuthenticationMethod.IMPORTED: pb.AUTHENTICATION_METHOD_IMPORTED,
}

END_REASONS: Final = {
    SIGNED_OUT: pb.SESSION_END_REASON_REVOKED,
    REVOKED: pb.SESSION_END_REASON_REVOKED,
    STOLEN: pb.SESSION_END_REASON_STOLEN,
    PASSWORD_CHANGED: pb.SESSION_END_REASON_PASSWORD_CHANGED,
    PASSWORD_RESET: pb.SESSION_END_REASON_PASSWORD_CHANGED,
    USER_DISABLED: pb.SESSION_END_REASON_USER_DISABLED,
    ADDRESS_PROVED: pb.SESSION_END_REASON_ADDRESS_PROVED,
}


def fill(target: pb.Session, session: Session, now: datetime, *, current: bool = False) -> None:
    """Write a session into a message; ``current``: it is the one of the token in the request."""
    target.id = session.id
    target.user_id = session.user_id
    assign(target.created_at, session.created_at)
    assign(target.expires_at, session.expires_at)
    assign(target.absolute_expires_at, session.absolute_expires_at)
    assign(target.last_seen_at, session.last_seen_at)
    target.ip_address = session.ip_address
    target.user_agent = session.user_agent
    target.do_not_remember = session.do_not_remember
    target.current = current
    target.fresh = lifetime.is_fresh(session, now)
    target.authentication_method = METHODS[session.authentication_method]
    assign(target.ended_at, lifetime.ended_at(session, now))
    target.end_reason = _end_reason(session, now)


def _end_reason(session: Session, now: datetime) -> pb.SessionEndReason.ValueType:
    if lifetime.has_expired(session, now):
        return pb.SESSION_END_REASON_EXPIRED
    return END_REASONS.get(session.revoked_reason, pb.SESSION_END_REASON_UNSPECIFIED)


def client_details(client: user_pb2.ClientContext) -> ClientDetails:
    """Return where a call comes from, in the form that is stored."""
    return ClientDetails.of(client.ip_address, client.user_agent)
