"""SendDirect: what is accepted, how it rests, how it is sent, and when it is erased."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import bson
import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.notifications.v1 import delivery_pb2 as pb
from vibework.notifications.v1 import delivery_service_pb2 as service
from vibework.notifications.v1 import notification_pb2

from chassis.keyring import Keyring
from notifications_service.delivery.channels.channel import Outcome
from notifications_service.mongodb.database import Database
from notifications_service.mongodb.drivers import ClientSession
from notifications_service.outbox.direct import ADDRESS_KEPT, DirectContent, DirectSeal, NewDirect
from notifications_service.outbox.erasing import Eraser
from notifications_service.outbox.model import Reason
from notifications_service.suppressions.model import Suppression, SuppressionReason
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.users_client import Addressee
from tests.harness.databases import MongoDatabase
from tests.harness.delivering import Delivering
from tests.harness.notifications import Notifications, running_notifications, settings_for
from tests.harness.users import reason, violations

CODE = "918273"
ADDRESS = "ann.unusual@example.com"
HOUR = timedelta(hours=1)
AT_ONCE = 16
# A relay is set, and no worker runs in the server.
WITH_EMAIL: dict[str, Any] = {
    "delivery": "separate",
    "smtp_host": "127.0.0.1",
    "smtp_security": "none",
    "email_from": "us@example.com",
}
REFUSED = Outcome(Reason.REJECTED_PERMANENT, final=True)


def request(**fields: Any) -> service.SendDirectRequest:
    """Make a request that is right, but for the fields given."""
    expires = Timestamp()
    expires.FromDatetime(datetime.now(UTC) + fields.pop("ahead", HOUR))
    template = service.DirectTemplate(purpose="sign_in", variables={"code": CODE})
    usual: dict[str, Any] = {"email_address": ADDRESS, "template": template, "expires_at": expires}
    if "user_id" in fields:
        del usual["email_address"]
    if "email" in fields:
        del usual["template"]
    return service.SendDirectRequest(**(usual | fields))


@pytest.fixture
async def sending(mongodb_module_database: MongoDatabase) -> AsyncIterator[Notifications]:
    """A server that is set up for email, and leaves sending to others."""
    async with running_notifications(mongodb_module_database, **WITH_EMAIL) as running:
        yield running


@pytest.fixture
async def delivering(mongodb_database: MongoDatabase) -> AsyncIterator[Delivering]:
    """An outbox with a worker, on a database of its own."""
    database = Database(settings_for(mongodb_database))
    yield Delivering(database)
    await database.close()


async def queue(delivering: Delivering, **fields: Any) -> str:
    """Store what SendDirect would; return the id of the delivery."""
    content = fields.pop("content", DirectContent("", "sign_in", {"code": CODE}))
    to = fields or {"address": ADDRESS}
    row = delivering.seal.stored(NewDirect(content, delivering.now() + HOUR, **to), delivering.now())
    await delivering.database.transaction(lambda session: delivering.outbox.insert_in(session, [row]))
    return str(row["_id"])


async def found(delivering: Delivering, id_: str) -> dict[str, Any]:
    """Return a delivery as it is stored."""
    row = await delivering.rows.find_one({"_id": id_})
    assert row is not None
    return row


async def test_what_is_queued_stands_readable_nowhere(sending: Notifications, raw: Any) -> None:
    """Neither the code nor the address is in any collection, the answers to request ids included."""
    subject = "Your code, one of a kind"
    for content in ({}, {"email": notification_pb2.EmailContent(subject=subject, text=CODE, html=f"<b>{CODE}</b>")}):
        told = await sending.deliveries.SendDirect(request(request_id=str(uuid.uuid4()), **content))
        shown = await sending.deliveries.GetDelivery(service.GetDeliveryRequest(id=told.delivery.id))
        assert shown.delivery == told.delivery
    assert (told.delivery.kind, told.delivery.user_id) == (pb.DELIVERY_KIND_DIRECT, "")
    assert told.delivery.state == notification_pb2.DELIVERY_STATE_PENDING
    assert raw.idempotency_keys.count_documents({}) >= 2
    for name in raw.list_collection_names():
        for row in raw[name].find():
            stored = bson.encode(row)
            assert not [text for text in (CODE, "unusual", "one of a kind") if text.encode() in stored], name


async def test_of_repeats_one_mail_is_queued(sending: Notifications, raw: Any) -> None:
    """Sixteen at once with one id get one answer; the same id with another code is refused, and queues nothing."""
    asked = request(request_id=str(uuid.uuid4()))
    before = raw.deliveries.count_documents({})

    async def send() -> str:
        try:
            return (await sending.deliveries.SendDirect(asked)).delivery.id
        except grpc.aio.AioRpcError as error:
            return reason(error)

    ids = set(await asyncio.gather(*(send() for _ in range(AT_ONCE)))) - {"REQUEST_IN_FLIGHT"}
    assert {(await sending.deliveries.SendDirect(asked)).delivery.id} == ids
    asked.template.variables["code"] = "111111"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await sending.deliveries.SendDirect(asked)
    assert reason(caught.value) == "REQUEST_ID_REUSED"
    assert raw.deliveries.count_documents({}) == before + 1


async def test_what_cannot_be_sent_is_told_at_once(
    sending: Notifications, mongodb_module_database: MongoDatabase
) -> None:
    """An unknown template, a time that has passed or is too far, a user nobody can ask for, a server without email."""
    unknown = service.DirectTemplate(purpose="no_such_purpose")
    for asked, why, fields in (
        (request(template=unknown), "TEMPLATE_UNKNOWN", ["template.purpose"]),
        (request(ahead=-HOUR), "INVALID_FIELDS", ["expires_at"]),
        (request(ahead=timedelta(hours=25)), "INVALID_FIELDS", ["expires_at"]),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await sending.deliveries.SendDirect(asked)
        assert (reason(caught.value), violations(caught.value)) == (why, fields)
    async with running_notifications(mongodb_module_database, delivery="separate") as without:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await without.deliveries.SendDirect(request())
    assert reason(caught.value) == "CHANNEL_NOT_CONFIGURED"
    strict = WITH_EMAIL | {"recipient_check": "required", "users_address": "127.0.0.1:1"}
    async with running_notifications(mongodb_module_database, **strict) as checking:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await checking.deliveries.SendDirect(request(user_id="user_1"))
    assert reason(caught.value) == "USERS_SERVICE_UNAVAILABLE"


async def test_a_mail_is_sent_and_its_content_erased(delivering: Delivering) -> None:
    """To the address as it was given; the address stays sealed for bounces, and goes after two weeks."""
    id_ = await queue(delivering)
    await delivering.worker().drain()
    [mail] = delivering.far_end.mails
    assert (mail.to, CODE in mail.text, mail.unsubscribe_url) == (ADDRESS, True, "")
    row = await found(delivering, id_)
    assert (row["state"], "content" in row, row["log"][0]["maskedAddress"]) == ("sent", False, "a…@…com")
    assert delivering.seal.address(row) == ADDRESS
    eraser = Eraser(delivering.database, delivering.now)
    delivering.clock.advance(ADDRESS_KEPT - HOUR)
    assert await eraser.erase() == 0
    delivering.clock.advance(2 * HOUR)
    assert await eraser.erase() == 1
    assert "address" not in await found(delivering, id_)
    assert await eraser.erase() == 0


async def test_a_mail_of_a_callers_own_is_sent_as_it_is(delivering: Delivering) -> None:
    """Subject, texts and the address for answers, to where the user is now, verified or not, disabled or not."""
    delivering.users.others["user_1"] = Addressee("user_1", "new@example.com", is_verified=False, is_disabled=True)
    content = DirectContent(subject="Hi", text="plain", html="<b>rich</b>", reply_to="help@example.com")
    await queue(delivering, user_id="user_1", content=content)
    await delivering.worker().drain()
    [mail] = delivering.far_end.mails
    assert (mail.to, mail.subject, mail.text, mail.html) == ("new@example.com", "Hi", "plain", "<b>rich</b>")
    assert mail.reply_to == "help@example.com"


async def test_what_failed_is_kept_until_it_expires(delivering: Delivering, mongodb_database: MongoDatabase) -> None:
    """It can be queued again as long as it would be sent; later it is a conflict, before the eraser comes and after."""
    delivering.far_end.answer = lambda _: REFUSED
    first, second = await queue(delivering), await queue(delivering)
    await delivering.worker().drain()
    assert "content" in await found(delivering, first)
    async with running_notifications(mongodb_database, clock=delivering.clock, **WITH_EMAIL) as running:
        await running.deliveries.RetryDelivery(service.RetryDeliveryRequest(id=first))
        delivering.far_end.answer = lambda _: Outcome()
        await delivering.worker().drain()
        assert (await found(delivering, first))["state"] == "sent"
        delivering.clock.advance(2 * HOUR)
        for _ in range(2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await running.deliveries.RetryDelivery(service.RetryDeliveryRequest(id=second))
            assert reason(caught.value) == "DELIVERY_STATE_CONFLICT"
            await Eraser(delivering.database, delivering.now).erase()
    row = await found(delivering, second)
    assert not {"content", "address"} & row.keys()


async def test_what_is_cancelled_or_expires_is_erased_at_once(
    delivering: Delivering, mongodb_database: MongoDatabase
) -> None:
    """Nothing can send it any longer, so nothing of it is kept."""
    cancelled, expired, waiting = [await queue(delivering) for _ in range(3)]
    async with running_notifications(mongodb_database, clock=delivering.clock, **WITH_EMAIL) as running:
        await running.deliveries.CancelDelivery(service.CancelDeliveryRequest(id=cancelled))
    delivering.clock.advance(2 * HOUR)
    # Also where no worker comes.
    assert await Eraser(delivering.database, delivering.now).erase() == 2
    assert "content" not in await found(delivering, waiting)
    await delivering.worker().drain()
    for id_, state in ((cancelled, "cancelled"), (expired, "expired"), (waiting, "expired")):
        row = await found(delivering, id_)
        assert (row["state"], {"content", "address", "eraseAt"} & row.keys()) == (state, set())
    assert delivering.far_end.mails == []


async def _put(listed: SuppressionRepository, new: Suppression, session: ClientSession) -> bool:
    return await listed.put_in(session, new)


@pytest.mark.parametrize(("why", "goes"), [(SuppressionReason.BOUNCE, False), (SuppressionReason.COMPLAINT, True)])
async def test_a_bounce_stops_it_and_a_complaint_does_not(
    delivering: Delivering, why: SuppressionReason, goes: bool
) -> None:
    """Who reported news as unwanted still gets the code that he asks for; a mailbox that is not there gets nothing."""
    listed = SuppressionRepository(delivering.database, delivering.keyring)
    for address in (ADDRESS, "user_1@example.com"):
        await delivering.database.transaction(partial(_put, listed, Suppression(address, why, delivering.now())))
    ids = [await queue(delivering), await queue(delivering, user_id="user_1")]
    await delivering.worker().drain()
    assert (sorted(delivering.far_end.sent()) == sorted(ids)) is goes
    for id_ in ids:
        assert (await found(delivering, id_))["state"] == ("sent" if goes else "suppressed")


async def test_a_broken_seal_fails_its_own_mail_alone(delivering: Delivering) -> None:
    """A key that is gone has its own reason, is not tried again, and holds up nobody else."""
    whole, delivering.seal = await queue(delivering), DirectSeal(Keyring({"gone": bytes(32)}))
    to_address, to_user = await queue(delivering), await queue(delivering, user_id="user_1")
    await delivering.worker().drain()
    assert delivering.far_end.sent() == [whole]
    for id_ in (to_address, to_user):
        row = await found(delivering, id_)
        assert (row["state"], row["reason"]) == ("failed", Reason.KEY_GONE.value)


async def test_a_user_decides_whether_there_is_somebody_to_send_to(delivering: Delivering) -> None:
    """Nobody to ask: it waits, and no attempt is counted; gone: cancelled; without an address: failed."""
    delivering.users.refuses = True
    waits = await queue(delivering, user_id="user_1")
    await delivering.worker().drain()
    row = await found(delivering, waits)
    assert (row["state"], row["deferral"], row["attempts"]) == ("pending", "users_service_down", 0)
    delivering.users.refuses = False
    delivering.users.gone.add("user_2")
    delivering.users.others["user_3"] = Addressee("user_3")
    gone, nowhere = await queue(delivering, user_id="user_2"), await queue(delivering, user_id="user_3")
    await delivering.worker().drain()
    assert (await found(delivering, gone))["reason"] == "user_gone"
    assert (await found(delivering, nowhere))["reason"] == "no_address"


async def test_a_bounce_that_comes_late_names_the_address(
    delivering: Delivering, mongodb_database: MongoDatabase
) -> None:
    """For two weeks the sealed address tells whom a mail went to, so that the list can show it."""
    id_ = await queue(delivering)
    await delivering.worker().drain()
    delivering.clock.advance(ADDRESS_KEPT - HOUR)
    async with running_notifications(mongodb_database, clock=delivering.clock, **WITH_EMAIL) as running:
        report = service.ReportDeliveryEventRequest(delivery_id=id_, event=service.DELIVERY_EVENT_HARD_BOUNCE)
        told = await running.deliveries.ReportDeliveryEvent(report)
    assert told.delivery.state == notification_pb2.DELIVERY_STATE_BOUNCED
    assert told.suppression.email_address == ADDRESS
    row = await found(delivering, id_)
    assert row["eraseAt"] == row["sentAt"] + ADDRESS_KEPT
