"""DeliveryService on the wire: each method converts, calls and converts back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vibework.errors.v1 import ErrorReason
from vibework.notifications.v1 import delivery_pb2
from vibework.notifications.v1 import delivery_service_pb2 as pb
from vibework.notifications.v1 import delivery_service_pb2_grpc as pb_grpc
from vibework.notifications.v1.notification_pb2 import DELIVERY_STATE_UNSPECIFIED

from chassis.contract import fieldmask
from chassis.contract.idempotency import request_fingerprint
from chassis.contract.keyset import Pages
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from notifications_service.addresses import AddressHashes
from notifications_service.clock import MillisecondClock
from notifications_service.delivery import messages, requests
from notifications_service.delivery.direct import DirectMails
from notifications_service.delivery.reports import Reports
from notifications_service.delivery.service import DeliveryService, SteeredBatch
from notifications_service.delivery.steering import CANCEL, RETRY, SteeringStep, Untouched
from notifications_service.mongodb.codec import Document
from notifications_service.mongodb.newest_first import RowKey
from notifications_service.notification.times import ceiling
from notifications_service.outbox.filters import DeliveryFilter
from notifications_service.suppressions import messages as suppressed
from notifications_service.suppressions.service import SuppressionService

# Why a delivery of a batch was left as it was, where that is an error of a single one.
_REASONS: Final[Mapping[Untouched | None, ErrorReason.ValueType]] = {
    Untouched.CONFLICT: ErrorReason.ERROR_REASON_DELIVERY_STATE_CONFLICT,
    Untouched.NOT_FOUND: ErrorReason.ERROR_REASON_DELIVERY_NOT_FOUND,
}
_DELIVERY: Final = delivery_pb2.Delivery.DESCRIPTOR


class DeliveryServicer(pb_grpc.DeliveryServiceServicer):
    """Answers the calls; ``max_attempts``: how often the worker tries."""

    def __init__(
        self,
        service: DeliveryService,
        reports: Reports,
        suppressions: SuppressionService,
        direct: DirectMails,
        *,
        pages: Pages[RowKey],
        hashes: AddressHashes,
        clock: MillisecondClock,
        max_attempts: int,
    ) -> None:
        self._service = service
        self._reports = reports
        self._suppressions = suppressions
        self._direct = direct
        self._pages = pages
        self._hashes = hashes
        self._clock = clock
        self._max_attempts = max_attempts

    async def SendDirect(self, request: pb.SendDirectRequest, context: Context) -> pb.SendDirectResponse:
        """Queue a mail to a user or an address."""
        key = self._direct.key(request.request_id, request_fingerprint(request))
        row = await self._direct.send(requests.direct_of(request, self._clock), key)
        return pb.SendDirectResponse(delivery=messages.to_message(row, row["createdAt"], self._max_attempts))

    async def GetDelivery(self, request: pb.GetDeliveryRequest, context: Context) -> pb.GetDeliveryResponse:
        """Read one delivery."""
        paths = fieldmask.read_paths(request.read_mask, _DELIVERY)
        found = self._shown(await self._service.get(request.id, request.user_id))
        fieldmask.prune(found, paths)
        return pb.GetDeliveryResponse(delivery=found)

    async def ListDeliveries(self, request: pb.ListDeliveriesRequest, context: Context) -> pb.ListDeliveriesResponse:
        """List deliveries, newest first."""
        paths, chosen = (
            fieldmask.read_paths(request.read_mask, _DELIVERY),
            self._chosen(request.filter),
        )
        rows, last = await self._service.page(chosen, self._pages.after(request), page_size(request.page_size))
        response = pb.ListDeliveriesResponse(next_page_token=self._pages.token(request, last))
        for row in rows:
            found = self._shown(row)
            fieldmask.prune(found, paths)
            response.deliveries.append(found)
        if request.include_total:
            [response.total_size] = await self._service.count([chosen])
        return response

    async def CountDeliveries(self, request: pb.CountDeliveriesRequest, context: Context) -> pb.CountDeliveriesResponse:
        """Count deliveries for several filters."""
        chosen = [self._chosen(item) for item in request.filters]
        return pb.CountDeliveriesResponse(counts=await self._service.count(chosen))

    async def CancelDelivery(self, request: pb.CancelDeliveryRequest, context: Context) -> pb.CancelDeliveryResponse:
        """Cancel a delivery that has not been sent."""
        return pb.CancelDeliveryResponse(delivery=self._shown(await self._service.steer(request.id, CANCEL)))

    async def RetryDelivery(self, request: pb.RetryDeliveryRequest, context: Context) -> pb.RetryDeliveryResponse:
        """Queue a delivery again."""
        return pb.RetryDeliveryResponse(delivery=self._shown(await self._service.steer(request.id, RETRY)))

    async def BatchCancelDeliveries(
        self, request: pb.BatchCancelDeliveriesRequest, context: Context
    ) -> pb.BatchCancelDeliveriesResponse:
        """Cancel many deliveries."""
        done = await self._steered(request, CANCEL)
        return pb.BatchCancelDeliveriesResponse(
            changed_count=done.written.changed, outcomes=_outcomes(done), incomplete=done.written.incomplete
        )

    async def BatchRetryDeliveries(
        self, request: pb.BatchRetryDeliveriesRequest, context: Context
    ) -> pb.BatchRetryDeliveriesResponse:
        """Queue many deliveries again."""
        done = await self._steered(request, RETRY)
        return pb.BatchRetryDeliveriesResponse(
            changed_count=done.written.changed, outcomes=_outcomes(done), incomplete=done.written.incomplete
        )

    async def ReportDeliveryEvent(
        self, request: pb.ReportDeliveryEventRequest, context: Context
    ) -> pb.ReportDeliveryEventResponse:
        """Take what a mail provider reports."""
        event = requests.event_of(request, self._clock)
        if request.HasField("email_address"):
            row, begun = None, await self._reports.of_address(request.email_address, event)
        else:
            row, begun = await self._reports.of_delivery(await self._subject(request), event)
        return pb.ReportDeliveryEventResponse(
            delivery=None if row is None else self._shown(row),
            suppression=None if begun is None else suppressed.to_message(begun),
        )

    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, context: Context
    ) -> pb.ListSuppressionsResponse:
        """List the suppression list, newest first."""
        chosen = suppressed.filter_of(request.filter)
        after = self._pages.after(request)
        rows, last = await self._suppressions.page(chosen, after, page_size(request.page_size))
        response = pb.ListSuppressionsResponse(
            suppressions=map(suppressed.to_message, rows), next_page_token=self._pages.token(request, last)
        )
        if request.include_total:
            response.total_size = await self._suppressions.count(chosen)
        return response

    async def DeleteSuppression(
        self, request: pb.DeleteSuppressionRequest, context: Context
    ) -> pb.DeleteSuppressionResponse:
        """Take an address off the suppression list."""
        reasons = suppressed.reasons_of([request.reason] if request.reason else [])
        before = ceiling(request.created_before) if request.HasField("created_before") else None
        await self._suppressions.delete(
            request.email_address, reasons, before=before, allow_missing=request.allow_missing
        )
        return pb.DeleteSuppressionResponse()

    async def _subject(self, request: pb.ReportDeliveryEventRequest) -> str | None:
        """Return the id of the delivery that a report names; None where it names no mail of ours."""
        if request.HasField("message_id"):
            return requests.own_message_id(request.message_id)
        if request.HasField("provider_message_id"):
            return await self._reports.id_of(request.provider_message_id)
        return request.delivery_id

    async def _steered(
        self, request: pb.BatchCancelDeliveriesRequest | pb.BatchRetryDeliveriesRequest, step: SteeringStep
    ) -> SteeredBatch:
        if request.HasField("ids"):
            return await self._service.steer_each(request.ids.ids, step)
        return await self._service.steer_all(self._chosen(request.filter), step)

    def _chosen(self, message: delivery_pb2.DeliveryFilter) -> DeliveryFilter:
        return requests.filter_of(message, self._hashes)

    def _shown(self, row: Document) -> delivery_pb2.Delivery:
        return messages.to_message(row, self._clock(), self._max_attempts)


def _outcomes(done: SteeredBatch) -> list[pb.DeliveryOutcome]:
    return [
        pb.DeliveryOutcome(
            id=one.id,
            state=messages.STATE_TO_PROTO.get(one.state, DELIVERY_STATE_UNSPECIFIED),
            reason=_REASONS.get(one.left, ErrorReason.ERROR_REASON_UNSPECIFIED),
        )
        for one in done.outcomes
    ]
