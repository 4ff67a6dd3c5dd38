"""Conversion of events of users to the responses of a watch."""

from __future__ import annotations

from typing import Final

from vibework.users.v1 import user_service_pb2 as pb

from chassis.contract import etags
from chassis.contract.timestamps import assign
from chassis.logs import logging
from users_service.events.model import Place, UserEvent, UserEventKind
from users_service.watch.tokens import ResumeTokens
from users_service.watch.watcher import Event

KINDS: Final = {
    UserEventKind.CREATED: pb.USER_EVENT_KIND_CREATED,
    UserEventKind.CHANGED: pb.USER_EVENT_KIND_CHANGED,
    UserEventKind.DISABLED: pb.USER_EVENT_KIND_DISABLED,
    UserEventKind.ENABLED: pb.USER_EVENT_KIND_ENABLED,
    UserEventKind.DELETED: pb.USER_EVENT_KIND_DELETED,
    UserEventKind.PASSWORD_CHANGED: pb.USER_EVENT_KIND_PASSWORD_CHANGED,
    UserEventKind.SESSION_STOLEN: pb.USER_EVENT_KIND_SESSION_STOLEN,
}
_BY_TEXT: Final = {kind.value: number for kind, number in KINDS.items()}

log = logging.get(__name__)


class Responses:
    """Makes responses, each with its resume token."""

    def __init__(self, tokens: ResumeTokens) -> None:
        self._tokens = tokens

    def of(self, event: UserEvent) -> Event | None:
        """Return an event as it goes over the wire; None for a kind that only a later version knows."""
        kind = _BY_TEXT.get(event.kind)
        if kind is None:
            log.warning("an event of a kind that this version does not know", kind=event.kind, seq=event.place.seq)
            return None
        response = pb.WatchUsersResponse(resume_token=self._tokens.issue(event.place))
        told = response.user_event
        told.kind, told.user_id, told.session_id = kind, event.user_id, event.session_id
        told.etag = "" if event.revision is None else etags.write(event.revision)
        assign(told.occurred_at, event.occurred_at)
        return Event(event.place, response)

    def heartbeat(self, place: Place) -> pb.WatchUsersResponse:
        """Return a heartbeat at a place."""
        beat = pb.WatchUsersResponse.Heartbeat()
        return pb.WatchUsersResponse(heartbeat=beat, resume_token=self._tokens.issue(place))
