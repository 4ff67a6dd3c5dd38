"""Conversion of sessions to messages of the contract, and of requests to the model."""

from __future__ import annotations

from datetime import datetime

from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_pb2

from chassis.contract.timestamps import assign
from users_service.sessions import lifetime
from users_service.sessions.model import ClientDetails, Session


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


def client_details(client: user_pb2.ClientContext) -> ClientDetails:
    """Return where a call comes from, in the form that is stored."""
    return ClientDetails.of(client.ip_address, client.user_agent)
