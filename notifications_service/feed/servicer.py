"""NotificationService on the wire: each method converts, calls and converts back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Protocol

from bson import ObjectId
from google.protobuf.message import Message
from vibework.notifications.v1 import notification_service_pb2 as pb
from vibework.notifications.v1 import notification_service_pb2_grpc as pb_grpc
from vibework.notifications.v1.notification_pb2 import Notification

from chassis.contract.idempotency import request_fingerprint
from chassis.contract.keyset import Pages
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from chassis.logs import logging
from chassis.slices import Slices
from notifications_service.clock import MillisecondClock
from notifications_service.errors import NotificationUnreadable
from notifications_service.feed import requests
from notifications_service.feed.paging import PageKey
from notifications_service.feed.service import FeedService
from notifications_service.feed.updates import Updates
from notifications_service.idempotency import RequestKey
from notifications_service.mongodb.codec import Document
from notifications_service.notification import answers
from notifications_service.notification.as_of import AsOf, AsOfTokens
from notifications_service.notification.messages import Unreadable
from notifications_service.notification.times import floor
from notifications_service.notification.unreadable import FLAG


class Watch(Protocol):
    """Streams the changes of a user's feed."""

    async def watch(
        self, request: pb.WatchNotificationsRequest, write: Callable[[pb.WatchNotificationsResponse], Awaitable[None]]
    ) -> None:
        """Write events until the caller goes or an error ends it."""
        ...


class NotificationServicer(pb_grpc.NotificationServiceServicer):
    """Answers the calls.

    ``made``: makes the answers of reads; ``max_batch_bytes``: what the answer to a batch may take.
    """

    def __init__(
        self,
        service: FeedService,
        pages: Pages[PageKey],
        watch: Watch,
        as_of: AsOfTokens,
        *,
        made: answers.Answers,
        max_batch_bytes: int,
        clock: MillisecondClock,
        slices: Slices,
    ) -> None:
        self._service = service
        self._pages = pages
        self._watch = watch
        self._as_of = as_of
        self._answers = made
        self._max_batch_bytes = max_batch_bytes
        self._clock = clock
        self._slices = slices
        self._updates = Updates(clock)

    async def CreateNotification(
        self, request: pb.CreateNotificationRequest, context: Context
    ) -> pb.CreateNotificationResponse:
        """Create a notification for one user."""
        draft = requests.draft(request.user_id, request.content, self._clock, "content.")
        document = await self._service.create(draft, _key("CreateNotification", request), self._answers.check)
        if requests.is_ids_only(request.response_view):
            return pb.CreateNotificationResponse(notification=answers.ids_of(document))
        return pb.CreateNotificationResponse(notification=await self._shown(document))

    async def BatchCreateNotifications(
        self, request: pb.BatchCreateNotificationsRequest, context: Context
    ) -> pb.BatchCreateNotificationsResponse:
        """Create several notifications, all or none."""
        drafts = await requests.drafts(request, self._clock, self._max_batch_bytes, self._slices)
        ids_only = requests.is_ids_only(request.response_view)
        field = str(request.WhichOneof("batch"))
        answer = answers.BatchAnswer(field, self._max_batch_bytes, self._slices, ids_only=ids_only)
        created = await self._service.create_batch(
            drafts,
            _key("BatchCreateNotifications", request),
            answer.fill,
            skip_unknown=request.skip_unknown,
            ids_only=ids_only,
        )
        return await answer.of(created.documents, created.unknown)

    async def GetNotification(self, request: pb.GetNotificationRequest, context: Context) -> pb.GetNotificationResponse:
        """Read one notification."""
        mask = answers.ReadMask(request.read_mask)
        document = await self._service.get(ObjectId(request.id), request.user_id)
        return pb.GetNotificationResponse(notification=await self._shown(document, mask))

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        """List a user's notifications, newest first."""
        chosen, mask = requests.filter_of(request.filter), answers.ReadMask(request.read_mask, of_list=True)
        after, size = self._pages.after(request), page_size(request.page_size)
        page = await self._service.page(request.user_id, chosen, after, size, mask.projection)
        response = pb.ListNotificationsResponse()
        filled = self._answers.fill(response, request.user_id, page.rows, mask)
        response.next_page_token = self._pages.token(request, page.end(filled.taken))
        if filled.hidden or filled.restored:
            await self._service.note(filled.hidden, filled.restored)
        response.as_of = self._as_of.issue(request.user_id, page.seen)
        if request.include_total:
            [response.total_size] = (await self._service.count(request.user_id, [chosen])).counts
        return response

    async def ListScheduledNotifications(
        self, request: pb.ListScheduledNotificationsRequest, context: Context
    ) -> pb.ListScheduledNotificationsResponse:
        """List a user's notifications that wait for their time, the earliest first."""
        chosen, mask = requests.scheduled_filter_of(request.filter), answers.ReadMask(request.read_mask, of_list=True)
        after, size = self._pages.after(request), page_size(request.page_size)
        page = await self._service.scheduled_page(request.user_id, chosen, after, size, mask.projection)
        response = pb.ListScheduledNotificationsResponse()
        filled = self._answers.fill(response, request.user_id, page.rows, mask)
        response.next_page_token = self._pages.token(request, page.end(filled.taken))
        if request.include_total:
            response.total_size = await self._service.scheduled_count(request.user_id, chosen)
        return response

    async def CountNotifications(
        self, request: pb.CountNotificationsRequest, context: Context
    ) -> pb.CountNotificationsResponse:
        """Count a user's notifications for several filters."""
        chosen = [requests.filter_of(item) for item in request.filters]
        counted = await self._service.count(request.user_id, chosen)
        as_of = self._as_of.issue(request.user_id, counted.seen)
        return pb.CountNotificationsResponse(counts=counted.counts, as_of=as_of)

    async def GetNotificationStats(
        self, request: pb.GetNotificationStatsRequest, context: Context
    ) -> pb.GetNotificationStatsResponse:
        """Count a user's notifications by type and state."""
        return answers.stats(await self._service.stats(request.user_id, requests.filter_of(request.filter)))

    async def UpdateNotification(
        self, request: pb.UpdateNotificationRequest, context: Context
    ) -> pb.UpdateNotificationResponse:
        """Change the fields that the mask names."""
        changes, named = self._updates.changes_of(request), request.notification
        key = ObjectId(named.id)
        if self._answers.are_narrow:
            self._answers.check([{**await self._service.get(key, named.user_id), **changes}])
        check, schedule = partial(self._updates.check_beside, request), self._updates.schedule_of(request)
        document = await self._service.update(key, named.user_id, changes, named.etag, check, schedule=schedule)
        return pb.UpdateNotificationResponse(notification=await self._shown(document))

    async def MarkNotifications(
        self, request: pb.MarkNotificationsRequest, context: Context
    ) -> pb.MarkNotificationsResponse:
        """Mark notifications of a user by id."""
        ids, mark = requests.ids(request.ids), requests.mark_of(request.mark)
        return pb.MarkNotificationsResponse(changed_count=await self._service.many.mark(request.user_id, ids, mark))

    async def MarkAllNotifications(
        self, request: pb.MarkAllNotificationsRequest, context: Context
    ) -> pb.MarkAllNotificationsResponse:
        """Mark all notifications of a user that match."""
        chosen, mark = requests.filter_of(request.filter), requests.mark_of(request.mark)
        done = await self._service.many.mark_all(request.user_id, chosen, self._bound(request), mark)
        return pb.MarkAllNotificationsResponse(changed_count=done.changed, incomplete=done.incomplete)

    async def DeleteNotification(
        self, request: pb.DeleteNotificationRequest, context: Context
    ) -> pb.DeleteNotificationResponse:
        """Delete one notification."""
        key = ObjectId(request.id)
        await self._service.delete(key, request.user_id, request.etag, allow_missing=request.allow_missing)
        return pb.DeleteNotificationResponse()

    async def DeleteUserNotifications(
        self, request: pb.DeleteUserNotificationsRequest, context: Context
    ) -> pb.DeleteUserNotificationsResponse:
        """Delete all notifications of a user."""
        done = await self._service.many.delete_of_user(request.user_id)
        return pb.DeleteUserNotificationsResponse(deleted_count=done.changed, incomplete=done.incomplete)

    async def WatchNotifications(  # type: ignore[override] # writes by itself instead of yielding
        self, request: pb.WatchNotificationsRequest, context: Context
    ) -> None:
        """Stream what happens to a user's notifications."""
        await self._watch.watch(request, context.write)

    def _bound(self, request: pb.MarkAllNotificationsRequest) -> AsOf | datetime | None:
        if request.HasField("as_of"):
            return self._as_of.read(request.user_id, request.as_of)
        return floor(request.as_of_time) if request.HasField("as_of_time") else None

    async def _shown(self, document: Document, mask: answers.ReadMask = answers.EVERYTHING) -> Notification:
        try:
            shown = self._answers.one(document, mask)
        except Unreadable as error:
            logging.get(__name__).error("notification unreadable", document=str(error))
            if error.is_hidden:
                await self._service.note([document["_id"]], [])
            raise NotificationUnreadable from None
        if FLAG in document and mask is answers.EVERYTHING:
            await self._service.note([], [document["_id"]])
        return shown


def _key(method: str, request: Message) -> RequestKey | None:
    request_id: str = getattr(request, "request_id")  # noqa: B009 - of every create, by no common type
    return RequestKey(method, request_id, request_fingerprint(request)) if request_id else None
