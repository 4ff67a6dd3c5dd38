"""The users service beside what stands in for the notifications service: it keeps what it is told, and may refuse."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import grpc
import pytest
from google.protobuf.message import Message
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.clocks import VirtualClock
from tests.harness.databases import MySQLDatabase
from tests.harness.patience import wait_for
from tests.harness.users import BlockingStubs, UsersServer, reason, users_service

EMAIL: Final = "ann@example.com"
PASSWORD: Final = "correct horse battery"
HOME: Final = {"ip_address": "203.0.113.7", "user_agent": "Browser/1"}

R = TypeVar("R", bound=Message)
T = TypeVar("T", bound=Message)


@dataclass
class Deliveries:
    """Stands in for the notifications service: keeps what it is asked, and may refuse or lose the answer."""

    # What is to be sent.
    asked: list[deliveries_pb.SendDirectRequest] = field(default_factory=list)
    # What is to be taken off the suppression list.
    lifted: list[deliveries_pb.DeleteSuppressionRequest] = field(default_factory=list)
    answer: grpc.StatusCode = grpc.StatusCode.OK

    def send_direct(
        self, request: deliveries_pb.SendDirectRequest, context: grpc.ServicerContext
    ) -> deliveries_pb.SendDirectResponse:
        """Keep the request, then answer."""
        return self._answered(self.asked, request, context, deliveries_pb.SendDirectResponse())

    def delete_suppression(
        self, request: deliveries_pb.DeleteSuppressionRequest, context: grpc.ServicerContext
    ) -> deliveries_pb.DeleteSuppressionResponse:
        """Keep the request, then answer."""
        return self._answered(self.lifted, request, context, deliveries_pb.DeleteSuppressionResponse())

    def _answered(self, kept: list[R], request: R, context: grpc.ServicerContext, response: T) -> T:
        # Read before the request is kept: who finds it there may change what the next one is answered.
        answer = self.answer
        kept.append(request)
        if answer is not grpc.StatusCode.OK:
            context.abort(answer, "told to")
        return response


@contextmanager
def serving(deliveries: Deliveries) -> Iterator[str]:
    """Serve what stands in for the notifications service; yields its address."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "SendDirect": grpc.unary_unary_rpc_method_handler(
            deliveries.send_direct,
            deliveries_pb.SendDirectRequest.FromString,
            deliveries_pb.SendDirectResponse.SerializeToString,
        ),
        "DeleteSuppression": grpc.unary_unary_rpc_method_handler(
            deliveries.delete_suppression,
            deliveries_pb.DeleteSuppressionRequest.FromString,
            deliveries_pb.DeleteSuppressionResponse.SerializeToString,
        ),
    }
    server = grpc.server(ThreadPoolExecutor(2))
    service = grpc.method_handlers_generic_handler("vibework.notifications.v1.DeliveryService", handlers)
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def by(client: dict[str, str]) -> user_pb2.ClientContext:
    """Return where an end user calls from: from home, unless told otherwise."""
    return user_pb2.ClientContext(**(client or HOME))


@dataclass(frozen=True)
class Sides:
    """The users service, what stands in for the other one, and an end user between them."""

    server: UsersServer
    stubs: BlockingStubs
    deliveries: Deliveries
    clock: VirtualClock

    def sign_up(self, **client: str) -> str:
        """Sign up; return the user's id."""
        wanted = sessions_pb.SignUpRequest(email=EMAIL, password=PASSWORD, client=by(client))
        return str(self.stubs.sessions.SignUp(wanted).user.id)

    def sign_in(self, **client: str) -> None:
        """Sign in with the password."""
        self.stubs.sessions.SignIn(sessions_pb.SignInRequest(email=EMAIL, password=PASSWORD, client=by(client)))

    def create(self, **fields: Any) -> pb.CreateVerificationResponse:
        """Have a secret sent."""
        purpose, kind = pb.VERIFICATION_PURPOSE_SIGN_IN, pb.VERIFICATION_KIND_CODE
        wanted: dict[str, Any] = {"purpose": purpose, "identifier": EMAIL, "kind": kind} | fields
        wanted.setdefault("delivery", pb.VERIFICATION_DELIVERY_SEND_CODE)
        return self.stubs.verifications.CreateVerification(pb.CreateVerificationRequest(**wanted))

    def refused(self, **fields: Any) -> tuple[grpc.StatusCode, str]:
        """Fail to have a secret sent."""
        with pytest.raises(grpc.RpcError) as caught:
            self.create(**fields)
        return caught.value.code(), reason(caught.value)

    def consume(
        self,
        secret: pb.VerificationSecret,
        purpose: pb.VerificationPurpose.ValueType = pb.VERIFICATION_PURPOSE_SIGN_IN,
    ) -> str:
        """Use a secret; return the identifier that it was for."""
        request = pb.ConsumeVerificationRequest(purpose=purpose, secret=secret)
        return self.stubs.verifications.ConsumeVerification(request).verification.identifier

    def left(self, kind: str) -> int:
        """How many calls of a kind the outbox has."""
        return int(self.server.rows("SELECT COUNT(*) FROM outbox WHERE kind = %s", kind)[0][0])

    def handed_over(self, kind: str) -> None:
        """Wait until every call of a kind that was left has been made."""
        wait_for(lambda: not self.left(kind), kind)

    @property
    def waiting(self) -> int:
        """How many mails with secrets the outbox has."""
        return self.left("send_verification")

    def sent(self, number: int = 1) -> deliveries_pb.SendDirectRequest:
        """Wait until so many mails were handed over and nothing is left, and return the last."""
        wait_for(lambda: len(self.deliveries.asked) == number and not self.waiting, "the mail")
        return self.deliveries.asked[-1]

    def told(self) -> list[deliveries_pb.SendDirectRequest]:
        """Wait until every notice that was left was handed over, and return what was asked for."""
        self.handed_over("send_notice")
        return list(self.deliveries.asked)

    def kinds(self) -> list[str]:
        """Return which notices were handed over, in the order of their names."""
        return sorted(request.template.purpose for request in self.told())


@contextmanager
def both_sides(database: MySQLDatabase, deliveries: Deliveries | None = None, **settings: Any) -> Iterator[Sides]:
    """Serve both sides on a database."""
    deliveries, clock = deliveries or Deliveries(), VirtualClock()
    with serving(deliveries) as address:
        wanted: dict[str, Any] = {"notifications_address": address, "outbox_poll_ms": 20} | settings
        with users_service(database, clock, **wanted) as server, server.channel() as channel:
            yield Sides(server, BlockingStubs.on(channel), deliveries, clock)
