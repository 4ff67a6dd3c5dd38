"""Sessions as the contract shows them."""

from __future__ import annotations

from datetime import datetime

from chassis.timestamps import to_proto
from users_service.sessions import lifetime
from users_service.sessions.model import ClientDetails, Session
from vibework.users.v1 import session_service_pb2 as pb
from vibework.users.v1 import user_pb2


def session_message(session: Session, now: datetime, *, current: bool = False) -> pb.Session:
    """Return the message of a session; ``current``: it is the one of the token in the request."""
    return pb.Session(
        id=session.id,
        user_id=session.user_id,
        created_at=to_proto(session.created_at),
        expires_at=to_proto(session.expires_at),
        absolute_expires_at=to_proto(session.absolute_expires_at),
        last_seen_at=to_proto(session.last_seen_at),
        ip_address=session.ip_address,
        user_agent=session.user_agent,
        do_not_remember=session.do_not_remember,
        current=current,
        fresh=lifetime.is_fresh(session, now),
    )


def client_details(client: user_pb2.ClientContext) -> ClientDetails:
    """Return where a call comes from, in the form that is stored."""
    return ClientDetails.of(client.ip_address, client.user_agent)
