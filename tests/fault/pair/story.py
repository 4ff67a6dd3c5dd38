"""Stories whose events cross from the users service to the notifications service, and what they must come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import grpc
import pymongo
from vibework.notifications.v1 import delivery_service_pb2 as deliveries_pb
from vibework.notifications.v1 import delivery_service_pb2_grpc as deliveries_grpc
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as feed_pb
from vibework.notifications.v1 import notification_service_pb2_grpc as feed_grpc
from vibework.notifications.v1.delivery_pb2 import SUPPRESSION_REASON_BOUNCE as BOUNCE
from vibework.notifications.v1.delivery_pb2 import SUPPRESSION_REASON_COMPLAINT as COMPLAINT
from vibework.notifications.v1.delivery_pb2 import SuppressionReason
from vibework.testing.local import mail
from vibework.testing.local.ports import free_port
from vibework.users.v1 import account_service_pb2 as accounts_pb
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_pb2, user_service_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from tests.harness.databases import in_own_thread
from tests.harness.pair import SeparatePair
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.statements import query
from tests.harness.users import BlockingStubs

PASSWORD, ANOTHER = "correct horse battery", "another horse battery"
HOME = user_pb2.ClientContext(ip_address="203.0.113.7", user_agent="Browser/1")
ELSEWHERE = user_pb2.ClientContext(ip_address="198.51.100.7", user_agent="Browser/2")
VERIFY, SIGN_IN = pb.VERIFICATION_PURPOSE_EMAIL_VERIFICATION, pb.VERIFICATION_PURPOSE_SIGN_IN


def settings() -> dict[str, str]:
    """Return settings of a pair in which every kind of event is told; nobody sends the mails, which are counted."""
    told = {"NOTICES": "welcome, password_changed, new_sign_in", "OUTBOX_POLL_MS": "50", "DELIVERY": "separate"}
    # Attempts of many stories come from one address.
    return mail.settings(free_port()) | told | {"ATTEMPTS_PER_ADDRESS": "100000"}


@dataclass
class Told:
    """What a story was answered: that must come to something. What was not answered (``unsure``) may."""

    email: str
    user_id: str = ""
    doomed: str = ""
    done: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


@contextmanager
def users_of(sides: SeparatePair) -> Iterator[BlockingStubs]:
    """Call the users service."""
    with grpc.insecure_channel(sides.users.address) as channel:
        yield BlockingStubs.on(channel)


def begin(sides: SeparatePair, name: str) -> Told:
    """Have, while both serve, an address that bounced and complained, and a user with notifications to be deleted."""
    told = Told(f"{name}@example.com")
    with users_of(sides) as users, grpc.insecure_channel(sides.notifications.address) as channel:
        doomed = users.users.CreateUser(user_service_pb2.CreateUserRequest(email=f"doomed-{name}@example.com"))
        told.doomed = doomed.user.id
        content = notification_pb2.NotificationContent(
            title="t", message="m", type=notification_pb2.NOTIFICATION_TYPE_EMAIL
        )
        request = feed_pb.CreateNotificationRequest(user_id=told.doomed, content=content)
        feed_grpc.NotificationServiceStub(channel).CreateNotification(request, timeout=PATIENCE_SECONDS)
        deliveries = deliveries_grpc.DeliveryServiceStub(channel)
        for event in (deliveries_pb.DELIVERY_EVENT_HARD_BOUNCE, deliveries_pb.DELIVERY_EVENT_COMPLAINT):
            deliveries.ReportDeliveryEvent(
                deliveries_pb.ReportDeliveryEventRequest(email_address=told.email, event=event),
                timeout=PATIENCE_SECONDS,
            )
    return told


def greet(sides: SeparatePair) -> None:
    """Create a user, who is welcomed."""
    with users_of(sides) as users:
        users.users.CreateUser(user_service_pb2.CreateUserRequest(email="greeted@example.com"))


def act(sides: SeparatePair, told: Told) -> None:
    """Do all that is told to the other side, up to the first call that is not answered."""
    with users_of(sides) as users:
        for name, step in STEPS.items():
            try:
                step(users, told)
            except grpc.RpcError:
                told.unsure.append(name)
                return
            told.done.append(name)


def _sign_up(users: BlockingStubs, told: Told) -> None:
    request = sessions_pb.SignUpRequest(email=told.email, password=PASSWORD, client=HOME)
    told.user_id = users.sessions.SignUp(request, timeout=PATIENCE_SECONDS).user.id


def _change_password(users: BlockingStubs, told: Told) -> None:
    request = accounts_pb.ChangePasswordRequest(user_id=told.user_id, current_password=PASSWORD, new_password=ANOTHER)
    users.accounts.ChangePassword(request, timeout=PATIENCE_SECONDS)


def _sign_in_elsewhere(users: BlockingStubs, told: Told) -> None:
    request = sessions_pb.SignInRequest(email=told.email, password=ANOTHER, client=ELSEWHERE)
    users.sessions.SignIn(request, timeout=PATIENCE_SECONDS)


def _ask_for_a_code(users: BlockingStubs, told: Told) -> None:
    _verification(users, told, SIGN_IN, pb.VERIFICATION_DELIVERY_SEND_CODE)


def _verify(users: BlockingStubs, told: Told) -> None:
    code = _verification(users, told, VERIFY, pb.VERIFICATION_DELIVERY_RETURN_CODE)
    secret = pb.VerificationSecret(code=pb.VerificationSecret.CodeSecret(identifier=told.email, code=code))
    users.verifications.VerifyEmail(pb.VerifyEmailRequest(secret=secret), timeout=PATIENCE_SECONDS)


def _delete(users: BlockingStubs, told: Told) -> None:
    users.users.DeleteUser(user_service_pb2.DeleteUserRequest(id=told.doomed), timeout=PATIENCE_SECONDS)


def _verification(
    users: BlockingStubs,
    told: Told,
    purpose: pb.VerificationPurpose.ValueType,
    delivery: pb.VerificationDelivery.ValueType,
) -> str:
    request = pb.CreateVerificationRequest(
        purpose=purpose, identifier=told.email, kind=pb.VERIFICATION_KIND_CODE, delivery=delivery
    )
    return users.verifications.CreateVerification(request, timeout=PATIENCE_SECONDS).secret


STEPS: Final[dict[str, Callable[[BlockingStubs, Told], None]]] = {
    "sign up": _sign_up,
    "change the password": _change_password,
    "sign in elsewhere": _sign_in_elsewhere,
    "ask for a code": _ask_for_a_code,
    "verify": _verify,
    "delete": _delete,
}
# What notices steps leave, by the purpose of their template.
NOTICES: Final = {
    "sign up": "welcome",
    "change the password": "password_changed",
    "sign in elsewhere": "new_sign_in",
}


def rows(sides: SeparatePair, statement: str) -> list[tuple[Any, ...]]:
    """Run a statement on the users service's database."""
    found: list[tuple[Any, ...]] = in_own_thread(lambda: query(sides.mysql, statement))
    return found


def left(sides: SeparatePair) -> int:
    """Return how many events wait, those of tomorrow, too."""
    return int(rows(sides, "SELECT COUNT(*) FROM outbox")[0][0])


def hurry(sides: SeparatePair) -> None:
    """Let no event wait for its pause, or for the end of a dead relay's lease."""
    update = "UPDATE outbox SET available_at = NOW(6), leased_until = NULL WHERE id = %s AND available_at > NOW(6)"
    for (id_,) in rows(sides, "SELECT id FROM outbox"):
        # One by one: more at once might lock what a relay locks the other way round.
        in_own_thread(partial(query, sides.mysql, update, (id_,)))


def settle(sides: SeparatePair) -> None:
    """Wait until every event was told."""

    def done() -> bool:
        hurry(sides)
        return left(sides) == 0

    wait_for(done, "every event to be told")


def check(sides: SeparatePair, told: Told) -> None:
    """Check that what was answered has come to what it must, once; what was not may have, once."""
    with pymongo.MongoClient[dict[str, Any]](sides.mongodb.url) as client:
        database = client.get_default_database()
        if told.user_id:
            mails = Counter(row["templatePurpose"] for row in database.deliveries.find({"userId": told.user_id}))
            certain = Counter(NOTICES[step] for step in told.done if step in NOTICES)
            assert mails - Counter(NOTICES[step] for step in told.unsure if step in NOTICES) <= certain <= mails
        if "delete" in told.done:
            for collection in (database.notifications, database.deliveries):
                assert collection.count_documents({"userId": told.doomed, "kind": {"$ne": "direct"}}) == 0
    if "verify" not in told.unsure:
        assert suppressed(sides, told.email) == ({COMPLAINT} if "verify" in told.done else {BOUNCE, COMPLAINT})


def suppressed(sides: SeparatePair, address: str) -> set[SuppressionReason.ValueType]:
    """Return why nothing is sent to an address."""
    with grpc.insecure_channel(sides.notifications.address) as channel:
        chosen = deliveries_pb.SuppressionFilter(email_address=address)
        stub = deliveries_grpc.DeliveryServiceStub(channel)
        listed = stub.ListSuppressions(deliveries_pb.ListSuppressionsRequest(filter=chosen), timeout=PATIENCE_SECONDS)
        return {each.reason for each in listed.suppressions}


def codes(sides: SeparatePair) -> int:
    """Return how many mails with codes there are: they are to addresses, which stand readable nowhere."""
    with pymongo.MongoClient[dict[str, Any]](sides.mongodb.url) as client:
        return int(client.get_default_database().deliveries.count_documents({"templatePurpose": "sign_in"}))
