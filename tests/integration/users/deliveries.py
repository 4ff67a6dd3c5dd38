"""What stands in for the notifications service: a DeliveryService that keeps what it is asked to send."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import grpc
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb


@dataclass
class Deliveries:
    """Stands in for the notifications service: keeps what it is asked to send, and may refuse or lose the answer."""

    asked: list[deliveries_pb.SendDirectRequest] = field(default_factory=list)
    answer: grpc.StatusCode = grpc.StatusCode.OK

    def send_direct(
        self, request: deliveries_pb.SendDirectRequest, context: grpc.ServicerContext
    ) -> deliveries_pb.SendDirectResponse:
        """Keep the request, then answer."""
        self.asked.append(request)
        if self.answer is not grpc.StatusCode.OK:
            context.abort(self.answer, "told to")
        return deliveries_pb.SendDirectResponse()


@contextmanager
def serving(deliveries: Deliveries) -> Iterator[str]:
    """Serve what stands in for the notifications service; yields its address."""
    handler = grpc.unary_unary_rpc_method_handler(
        deliveries.send_direct,
        deliveries_pb.SendDirectRequest.FromString,
        deliveries_pb.SendDirectResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(2))
    service = grpc.method_handlers_generic_handler("vibework.notifications.v1.DeliveryService", {"SendDirect": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
