"""The methods of PreferenceService for push: each converts, calls and converts back."""

from __future__ import annotations

from vibework.notifications.v1 import preference_service_pb2 as pb
from vibework.notifications.v1 import preference_service_pb2_grpc as pb_grpc

from chassis.contract.idempotency import request_fingerprint
from chassis.contract.keyset import Pages, TimeAndId, cut
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from notifications_service.idempotency import RequestKey
from notifications_service.push_subscriptions import messages
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.service import Lookup, PushSubscriptionService


class PushSubscriptionServicer(pb_grpc.PreferenceServiceServicer):
    """Answers the calls."""

    def __init__(
        self,
        service: PushSubscriptionService,
        requests: messages.Requests,
        pages: Pages[TimeAndId],
        seal: Seal,
    ) -> None:
        self._service = service
        self._requests = requests
        self._pages = pages
        self._seal = seal

    async def GetPushKey(self, request: pb.GetPushKeyRequest, context: Context) -> pb.GetPushKeyResponse:
        """Tell the key that browsers subscribe with."""
        key = self._service.key
        return pb.GetPushKeyResponse(key_id=key.id, public_key=key.public)

    async def RegisterPushSubscription(
        self, request: pb.RegisterPushSubscriptionRequest, context: Context
    ) -> pb.RegisterPushSubscriptionResponse:
        """Register or renew a subscription."""
        new, key = self._requests.new(request), None
        if request.request_id:
            key = RequestKey("RegisterPushSubscription", request.request_id, request_fingerprint(request))
        response = pb.RegisterPushSubscriptionResponse()
        messages.fill(response.subscription, await self._service.register(new, key), self._seal)
        return response

    async def ListPushSubscriptions(
        self, request: pb.ListPushSubscriptionsRequest, context: Context
    ) -> pb.ListPushSubscriptionsResponse:
        """List a user's subscriptions, newest first."""
        after, size = self._pages.after(request), page_size(request.page_size)
        rows = await self._service.page(request.user_id, after, size + 1)
        page, last = cut(rows, size, lambda row: (row["createdAt"], row["_id"]))
        response = pb.ListPushSubscriptionsResponse(next_page_token=self._pages.token(request, last))
        for row in page:
            messages.fill(response.subscriptions.add(), row, self._seal)
        return response

    async def DeletePushSubscription(
        self, request: pb.DeletePushSubscriptionRequest, context: Context
    ) -> pb.DeletePushSubscriptionResponse:
        """Forget a subscription."""
        lookup = Lookup(request.id, request.endpoint)
        await self._service.delete(request.user_id, lookup, allow_missing=request.allow_missing)
        return pb.DeletePushSubscriptionResponse()
