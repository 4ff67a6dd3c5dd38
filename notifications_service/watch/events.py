"""Conversion of change events and documents to the responses of a watch."""

from __future__ import annotations

from collections.abc import Callable

from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as pb

from chassis.logs import logging
from notifications_service.mongodb.codec import Document
from notifications_service.notification import answers, filters, messages
from notifications_service.notification.answers import Answers
from notifications_service.notification.as_of import AsOf, AsOfTokens
from notifications_service.notification.filters import Filter
from notifications_service.notification.visibility import Visibility
from notifications_service.watch.changes import TOO_LARGE, ChangeEvent, ChangeKind, ResumePoint
from notifications_service.watch.tokens import ResumeTokens
from notifications_service.watch.watcher import Event


class Events:
    """Makes responses; expired and unreadable notifications are left out, and unreadable ones logged.

    To a watcher a notification that becomes unreadable, or that a change moves out of the filter, is deleted.
    """

    def __init__(self, tokens: ResumeTokens, as_of: AsOfTokens, shown: Callable[[], Visibility], made: Answers) -> None:
        """``shown``: tells which notifications are shown now."""
        self._made = made
        self._tokens = tokens
        self._as_of = as_of
        self._shown = shown
        self._log = logging.get(__name__)

    def of(self, change: ChangeEvent, chosen: Filter) -> Event | None:
        """Return the event of a change for the watches with a filter.

        None where it changes nothing for them: the notification passes the filter, or can be read, neither before nor
        after, or it has expired.
        """
        response = pb.WatchNotificationsResponse()
        document = change.document or {}
        if self._is_expired(document):
            return None
        shown = self._readable(document) if document and filters.is_of_kind(chosen, document) else None
        if shown is not None:
            getattr(response, change.kind.value).CopyFrom(shown)
        elif _may_have_passed(change, chosen):
            response.deleted.id = str(change.id)
        else:
            return None
        response.resume_token = self._tokens.issue(change.user_id, ResumePoint(change.position), chosen)
        return Event(change.position, change.at, response)

    def snapshot(self, document: Document) -> pb.WatchNotificationsResponse | None:
        """Return the event of a notification of a snapshot; None when it is unreadable."""
        notification = self.notification(document)
        return None if notification is None else pb.WatchNotificationsResponse(snapshot=notification)

    def snapshot_end(
        self, user_id: str, place: ResumePoint, count: int, seen: AsOf, *, truncated: bool, chosen: Filter
    ) -> pb.WatchNotificationsResponse:
        """Return the end of a snapshot of ``count`` notifications, which has ``seen`` so much."""
        as_of = self._as_of.issue(user_id, seen)
        end = pb.WatchNotificationsResponse.SnapshotEnd(count=count, truncated=truncated, as_of=as_of)
        return pb.WatchNotificationsResponse(snapshot_end=end, resume_token=self._tokens.issue(user_id, place, chosen))

    def heartbeat(self, user_id: str, place: ResumePoint | None, chosen: Filter) -> pb.WatchNotificationsResponse:
        """Return a heartbeat at a resume point; None: within a snapshot, where a watch cannot resume."""
        token = "" if place is None else self._tokens.issue(user_id, place, chosen)
        return pb.WatchNotificationsResponse(heartbeat=pb.WatchNotificationsResponse.Heartbeat(), resume_token=token)

    def notification(self, document: Document) -> notification_pb2.Notification | None:
        """Convert a document; None when it is unreadable (logged) or has expired."""
        return None if self._is_expired(document) else self._readable(document)

    def _is_expired(self, document: Document) -> bool:
        return not self._shown().shows(document)

    def _readable(self, document: Document) -> notification_pb2.Notification | None:
        try:
            if TOO_LARGE in document:
                raise messages.too_large(document)
            return self._made.one(document, answers.LISTED)
        except messages.Unreadable as error:
            self._log.warning("notification unreadable", problem=str(error))
            return None


def _may_have_passed(change: ChangeEvent, chosen: Filter) -> bool:
    """Whether the notification may have passed the filter before: where that is not known, one deletion too many."""
    if change.kind is ChangeKind.CREATED:
        return False
    return change.before is None or TOO_LARGE in change.before or filters.is_of_kind(chosen, change.before)
