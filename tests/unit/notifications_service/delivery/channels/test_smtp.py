"""The sender of mails against a real relay that refuses, falls silent and hangs up at every stage."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any, Final

import pytest
from vibework.testing.local.ports import LOOPBACK

from chassis.clock import utc_now
from notifications_service.delivery.channels.assembly import tls_context
from notifications_service.delivery.channels.channel import Mail, Outcome
from notifications_service.delivery.channels.settings import EmailSettings
from notifications_service.delivery.channels.smtp import SMTPSender
from notifications_service.outbox.model import Reason
from tests.harness.patience import PATIENCE_SECONDS, until
from tests.harness.relay import PASSWORD, USER, Act, Relay, Silence, running
from tests.unit.chassis.serving.test_tls import Pair, _make

FROM: Final = "no-reply@vibe.example"
TO: Final = "ada.lovelace@example.com"
# How long a silent relay is waited for, where that is what a test is about; all before its silence takes less, too.
SHORT_MS: Final = 3_000
STAGES: Final = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "AFTER_DATA")
BEFORE_THE_RECIPIENT: Final = ("GREETING", "EHLO", "MAIL")


def a_mail(number: int = 1, **changed: Any) -> Mail:
    """Return a mail."""
    return Mail(f"dlv_{number:026d}", TO, "Hello", "Hello, Ada", "<p>Hello, Ada</p>", **changed)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate, which is its own authority, and its key."""
    return _make(tmp_path_factory.mktemp("relay"), "relay")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Another one, that the first does not vouch for."""
    return _make(tmp_path_factory.mktemp("stranger"), "stranger")


def server_tls(pair: Pair) -> ssl.SSLContext:
    """Return what a relay with this certificate uses."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    return context


def settings_for(relay: Relay, **changed: Any) -> EmailSettings:
    """Return settings for a relay that speaks plain text, unless changed."""
    chosen: dict[str, Any] = {"smtp_host": LOOPBACK, "smtp_security": "none", "email_from": FROM, "smtp_connections": 1}
    return EmailSettings(smtp_port=relay.port, **(chosen | changed))


@asynccontextmanager
async def sending(relay: Relay, **changed: Any) -> AsyncIterator[SMTPSender]:
    """Return a sender to the relay."""
    settings = settings_for(relay, **changed)
    sender = SMTPSender(settings, tls_context(settings), utc_now)
    try:
        yield sender
    finally:
        sender.close()


async def outcome(relay: Relay, mail: Mail | None = None, **changed: Any) -> Outcome:
    """Send one mail over a new connection."""
    async with running(relay), sending(relay, **changed) as sender:
        return await sender.send(mail or a_mail(), PATIENCE_SECONDS)


async def test_a_mail_arrives_whole_and_the_relays_name_for_it_is_kept() -> None:
    """Envelope, headers, both bodies and a line that begins with a dot."""
    relay = Relay()
    mail = Mail("dlv_1", TO, "Olá", ".\n..dots\nOlá\n", "<p>Olá</p>")
    sent = await outcome(relay, mail, email_from_name="Vibe", email_envelope_from="bounces@vibe.example")
    assert sent == Outcome(smtp_code=250, enhanced_status="2.0.0", provider_message_id="Q00000001")
    [taken] = relay.mails
    assert (taken.sender, taken.recipients) == ("bounces@vibe.example", [TO])
    message = message_from_bytes(taken.content, policy=default)
    text, html = message.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == mail.text
    assert html.get_content().rstrip() == mail.html
    assert (message["From"], message["To"], message["Message-ID"]) == (f"Vibe <{FROM}>", TO, "<dlv_1@vibe.example>")


@pytest.mark.parametrize("stage", STAGES)
async def test_4yz_is_for_later(stage: str) -> None:
    """Whoever is told "not now" tries again; before the recipient is named, it is the relay's own trouble."""
    sent = await outcome(Relay(acts={stage: "451 4.7.1 not now"}))
    assert (sent.reason, sent.final) == (Reason.REJECTED_TEMPORARY, False)
    assert sent.blames_provider == (stage in BEFORE_THE_RECIPIENT)
    assert (sent.smtp_code, sent.enhanced_status) == (451, "4.7.1")
    assert "not now" in sent.detail


@pytest.mark.parametrize("stage", STAGES)
async def test_5yz_is_final_where_it_is_said_of_this_mail(stage: str) -> None:
    """A relay that refuses everybody, or the sender, says nothing of this mail: it waits until that is mended."""
    sent = await outcome(Relay(acts={stage: "554 5.7.1 never"}))
    of_all = stage in BEFORE_THE_RECIPIENT
    assert (sent.reason, sent.final) == (Reason.REJECTED_PERMANENT, not of_all)
    assert sent.blames_provider == of_all
    assert (sent.smtp_code, sent.enhanced_status) == (554, "5.7.1")


@pytest.mark.parametrize("stage", STAGES)
async def test_421_at_every_stage_is_for_later_and_its_connection_is_not_used_again(stage: str) -> None:
    """The relay closes that connection; the next mail has another one."""
    relay = Relay(once={stage: "421 4.3.2 going down"})
    async with running(relay), sending(relay) as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
        assert (sent.reason, sent.final, sent.smtp_code) == (Reason.REJECTED_TEMPORARY, False, 421)
        assert (await sender.send(a_mail(2), PATIENCE_SECONDS)).reason is None
    assert relay.connections == 2


@pytest.mark.sampled(1)
@pytest.mark.parametrize("stage", STAGES)
async def test_a_silent_relay_is_not_waited_for_forever(stage: str) -> None:
    """Each answer has its time; once the content is there, the mail may have been accepted."""
    relay = Relay(acts={stage: Silence.HANG})
    sent = await outcome(relay, smtp_timeout_ms=SHORT_MS, smtp_connect_timeout_ms=SHORT_MS)
    assert (sent.reason, sent.final) == (Reason.TIMEOUT, False)
    assert sent.blames_provider == (stage in BEFORE_THE_RECIPIENT)
    assert ("may have been accepted" in sent.detail) == (stage == "AFTER_DATA")
    assert len(relay.mails) == (stage == "AFTER_DATA")


async def test_a_mail_has_its_time_whatever_each_answer_may_take() -> None:
    """A lease ends; what is not sent by then is given up, and its connection with it."""
    relay = Relay(once={"RCPT": Silence.HANG})
    async with running(relay), sending(relay) as sender:
        sent = await sender.send(a_mail(), SHORT_MS / 1000)
        assert (sent.reason, sent.blames_provider) == (Reason.TIMEOUT, False)
        assert (await sender.send(a_mail(2), PATIENCE_SECONDS)).reason is None
    assert relay.connections == 2


async def test_a_mail_that_waits_for_a_connection_in_vain_was_not_tried() -> None:
    """All connections are busy with a relay that does not answer: its fault, and no attempt of this mail."""
    relay = Relay(once={"RCPT": Silence.HANG})
    async with running(relay), sending(relay) as sender:
        first = asyncio.create_task(sender.send(a_mail(), PATIENCE_SECONDS))
        await until(lambda: "RCPT" in relay.commands, "the first mail to hang")
        sent = await sender.send(a_mail(2), SHORT_MS / 1000)
        assert (sent.reason, sent.blames_provider) == (Reason.TIMEOUT, True)
        first.cancel()
        await asyncio.wait([first])
        # The turn of a mail that was cancelled is free again.
        assert (await sender.send(a_mail(3), PATIENCE_SECONDS)).reason is None


@pytest.mark.parametrize("stage", ["GREETING", "EHLO", "MAIL", "RCPT", "DATA"])
async def test_a_connection_that_breaks_before_the_content_sent_nothing(stage: str) -> None:
    """From the recipient on the mail may be what breaks it, so its attempts are counted."""
    relay = Relay(acts={stage: Silence.DROP})
    sent = await outcome(relay)
    assert (sent.reason, sent.final) == (Reason.CONNECTION, False)
    assert sent.blames_provider == (stage in BEFORE_THE_RECIPIENT)
    assert not relay.mails


@pytest.mark.parametrize("stage", ["IN_DATA", "AFTER_DATA"])
async def test_a_connection_that_breaks_before_the_content_is_answered_leaves_the_outcome_open(stage: str) -> None:
    """Nobody can tell whether the relay has the mail, so this says so, and the attempt counts."""
    relay = Relay(acts={stage: Silence.DROP})
    sent = await outcome(relay)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.OUTCOME_UNKNOWN, False, False)
    assert len(relay.mails) == (stage == "AFTER_DATA")


async def test_a_relay_that_is_not_there_is_blamed() -> None:
    """Nobody listens: the mail was not tried."""
    relay = Relay()
    async with running(relay):
        pass
    async with sending(relay) as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.CONNECTION, False, True)
    assert LOOPBACK not in sent.detail


async def test_a_host_that_no_name_server_knows_is_blamed() -> None:
    """The same holds where the name leads nowhere."""
    async with sending(Relay(port=25), smtp_host="relay.invalid", smtp_plain_text_anywhere=True) as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.blames_provider) == (Reason.CONNECTION, True)


async def test_an_answer_that_is_none_is_a_broken_connection() -> None:
    """What speaks another protocol is not understood, and not used again."""
    relay = Relay(once={"EHLO": "<html>"})
    async with running(relay), sending(relay) as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
        assert (sent.reason, sent.blames_provider, sent.smtp_code) == (Reason.CONNECTION, True, 0)
        assert (await sender.send(a_mail(2), PATIENCE_SECONDS)).reason is None


@pytest.mark.parametrize("at_once", [False, True])
async def test_mails_are_encrypted_on_their_way(pair: Pair, *, at_once: bool) -> None:
    """By STARTTLS, and from the first byte on."""
    relay = Relay()
    security = "tls" if at_once else "starttls"
    options = {} if at_once else {"require_starttls": True}
    async with (
        running(relay, tls=server_tls(pair), at_once=at_once, options=options),
        sending(relay, smtp_security=security, smtp_ca_file=pair.certificate) as sender,
    ):
        assert (await sender.send(a_mail(), PATIENCE_SECONDS)).reason is None
        assert (await sender.send(a_mail(2), PATIENCE_SECONDS)).reason is None
    assert (relay.connections, len(relay.mails)) == (1, 2)


async def test_without_starttls_nothing_is_told() -> None:
    """Whoever is between could have taken the offer away, to read the mails."""
    relay = Relay()
    sent = await outcome(relay, smtp_security="starttls", smtp_user=USER, smtp_password=PASSWORD)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.TLS, False, True)
    assert not {"AUTH", "MAIL"} & set(relay.commands)


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_certificate_of_another_authority_is_not_believed(pair: Pair, stranger: Pair, *, at_once: bool) -> None:
    """A relay that is not the one that was set gets no password and no mail."""
    relay = Relay()
    security = "tls" if at_once else "starttls"
    async with (
        running(relay, tls=server_tls(stranger), at_once=at_once),
        sending(relay, smtp_security=security, smtp_ca_file=pair.certificate) as sender,
    ):
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.TLS, False, True)
    assert "certificate" in sent.detail
    assert "MAIL" not in relay.commands


@pytest.mark.parametrize("at_once", [False, True])
async def test_a_certificate_of_another_name_is_not_believed(pair: Pair, *, at_once: bool) -> None:
    """The authority is right, but it vouches for 127.0.0.1, not for localhost."""
    relay = Relay()
    security = "tls" if at_once else "starttls"
    async with (
        running(relay, tls=server_tls(pair), at_once=at_once),
        sending(relay, smtp_host="localhost", smtp_security=security, smtp_ca_file=pair.certificate) as sender,
    ):
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.blames_provider) == (Reason.TLS, True)
    assert "MAIL" not in relay.commands


async def test_a_relay_that_speaks_plain_text_where_tls_is_demanded_is_told_nothing() -> None:
    """From the first byte on means that its greeting is no answer; nothing that it could read was sent."""
    relay = Relay()
    sent = await outcome(relay, smtp_security="tls", smtp_user=USER, smtp_password=PASSWORD)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.TLS, False, True)
    assert not {"AUTH", "MAIL"} & set(relay.commands)


async def test_a_relay_that_refuses_starttls_is_blamed(pair: Pair) -> None:
    """It offered what it does not give."""
    relay = Relay(acts={"STARTTLS": "454 4.3.0 TLS not available"})
    async with (
        running(relay, tls=server_tls(pair)),
        sending(relay, smtp_security="starttls", smtp_ca_file=pair.certificate) as sender,
    ):
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.blames_provider, sent.smtp_code) == (Reason.TLS, True, 454)


@asynccontextmanager
async def guarded(relay: Relay, pair: Pair, **changed: Any) -> AsyncIterator[SMTPSender]:
    """Run a relay that lets one user in, and a sender to it."""
    options = {"auth_required": True, "authenticator": relay.authenticate}
    asked = {"smtp_security": "starttls", "smtp_ca_file": pair.certificate, "smtp_user": USER} | changed
    async with running(relay, tls=server_tls(pair), options=options), sending(relay, **asked) as sender:
        yield sender


async def test_the_sender_signs_in_once_for_each_connection(pair: Pair) -> None:
    """User and password of the settings let it in."""
    relay = Relay()
    async with guarded(relay, pair, smtp_password=PASSWORD) as sender:
        for number in range(3):
            assert (await sender.send(a_mail(number), PATIENCE_SECONDS)).reason is None
    assert relay.users == [USER]


async def test_a_wrong_password_blames_the_settings_and_is_not_told(pair: Pair) -> None:
    """No mail is refused for it, and the detail does not repeat what the relay quotes."""
    relay = Relay()
    async with guarded(relay, pair, smtp_password="wrong-password") as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.AUTH, False, True)
    assert sent.smtp_code == 535
    assert "password" not in sent.detail


async def test_a_relay_that_wants_a_sign_in_and_gets_none(pair: Pair) -> None:
    """It is no matter of this mail."""
    relay = Relay()
    async with guarded(relay, pair, smtp_user="") as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.blames_provider, sent.smtp_code) == (Reason.AUTH, True, 530)


async def test_a_relay_without_a_way_to_sign_in_is_told_so() -> None:
    """Settings and relay do not fit together."""
    sent = await outcome(Relay(), smtp_user=USER, smtp_password=PASSWORD)
    assert (sent.reason, sent.blames_provider) == (Reason.AUTH, True)


@pytest.mark.parametrize(
    ("stage", "answer", "pause", "blames"),
    [
        ("GREETING", "421 4.7.0 too many connections, try again in 90 seconds", timedelta(seconds=90), True),
        ("MAIL", "454 Throttling failure: Maximum sending rate exceeded", timedelta(minutes=1), True),
        ("AFTER_DATA", "454 Throttling failure: Daily message quota exceeded", timedelta(minutes=1), True),
        ("RCPT", "450 4.2.1 this user receives mail too quickly, wait 5 minutes", timedelta(minutes=5), False),
        ("RCPT", "451 4.7.28 unusual rate, wait 4 hours", timedelta(hours=1), True),
        ("RCPT", "450 too many messages for this user", timedelta(minutes=1), False),
        ("DATA", "452 you have exceeded your daily sending limit", timedelta(minutes=1), True),
    ],
)
async def test_who_asks_for_fewer_mails_is_left_alone_for_a_while(
    stage: str, answer: str, pause: timedelta, *, blames: bool
) -> None:
    """For as long as it says, an hour at most; a limit of one mailbox does not hold for others."""
    sent = await outcome(Relay(acts={stage: answer}))
    assert (sent.reason, sent.retry_after, sent.blames_provider) == (Reason.RATE_LIMITED, pause, blames)


@pytest.mark.parametrize(
    "answer", ["452 mailbox quota exceeded", "452 message size limit exceeded", "452 4.2.2 over quota"]
)
async def test_a_mailbox_without_room_is_no_rate_of_the_relay(answer: str) -> None:
    """It says nothing of mails to others, so nothing waits for it but this mail."""
    sent = await outcome(Relay(acts={"RCPT": answer}))
    assert (sent.reason, sent.blames_provider, sent.retry_after) == (Reason.REJECTED_TEMPORARY, False, None)


async def test_a_mail_that_is_too_large_is_not_even_offered() -> None:
    """The relay said how much it takes (RFC 1870); one that says so only afterwards is understood, too."""
    relay = Relay()
    async with running(relay, options={"data_size_limit": 100}), sending(relay) as sender:
        sent = await sender.send(a_mail(), PATIENCE_SECONDS)
    assert (sent.reason, sent.final, sent.blames_provider) == (Reason.PAYLOAD_TOO_LARGE, True, False)
    assert "MAIL" not in relay.commands
    later = await outcome(Relay(acts={"AFTER_DATA": "552 5.3.4 message too big"}))
    assert (later.reason, later.final) == (Reason.PAYLOAD_TOO_LARGE, True)
    full = await outcome(Relay(acts={"RCPT": "552 5.2.2 mailbox full"}))
    assert (full.reason, full.final) == (Reason.REJECTED_PERMANENT, True)


async def test_what_the_relay_says_is_kept_without_addresses_and_secrets() -> None:
    """Relays quote the recipient, and filters the links of a mail."""
    said = f"550-5.1.1 <{TO}>: Ada.Lovelace is unknown\r\n550 5.1.1 https://vibe.example/reset?token=s3cret is listed"
    sent = await outcome(Relay(acts={"RCPT": said}))
    assert sent.detail == ("naming the recipient: 550 5.1.1 <…@…>: … is unknown https://vibe.example/… is listed")
    assert sent.enhanced_status == "5.1.1"


@pytest.mark.parametrize(
    "address", ["", "ada", "ada@", "a b@example.com", "ada@example.com\r\nRCPT TO:<x@y.z>", "ä@x.de"]
)
async def test_what_is_no_address_is_told_to_no_relay(address: str) -> None:
    """Nothing in an address can become a command."""
    relay = Relay()
    sent = await outcome(relay, Mail("dlv_1", address, "Hello", "Hello", ""))
    assert (sent.reason, sent.final) == (Reason.NO_ADDRESS, True)
    assert relay.connections == 0


@pytest.mark.parametrize("stage", ["RCPT", "AFTER_DATA"])
async def test_after_a_refusal_the_connection_serves_the_next_mail(stage: str) -> None:
    """Nothing of the refused mail is left behind: the relay is reset first."""
    relay = Relay(once={stage: "550 5.1.1 unknown"})
    async with running(relay), sending(relay) as sender:
        assert (await sender.send(a_mail(), PATIENCE_SECONDS)).final
        assert (await sender.send(a_mail(2), PATIENCE_SECONDS)).reason is None
    assert relay.connections == 1
    assert "RSET" in relay.commands


async def test_connections_are_shared_and_replaced_after_so_many_mails() -> None:
    """Never more than the settings allow, and none for ever: a balancer gets to see new ones."""
    relay = Relay()
    async with running(relay), sending(relay, smtp_connections=3, smtp_messages_per_connection=10) as sender:
        sent = await asyncio.gather(*(sender.send(a_mail(number), PATIENCE_SECONDS) for number in range(60)))
        assert {each.reason for each in sent} == {None}
        assert len(relay.open) <= 3
    assert 6 <= relay.connections <= 8
    assert len({mail.content.split(b"Message-ID: ")[1].split(b"\r\n")[0] for mail in relay.mails}) == 60


async def test_connections_that_died_while_idle_fail_no_mail() -> None:
    """Relays close what is idle, at a time of their own."""
    relay = Relay()
    async with running(relay), sending(relay, smtp_connections=4) as sender:
        await asyncio.gather(*(sender.send(a_mail(number), PATIENCE_SECONDS) for number in range(8)))
        relay.hang_up()
        sent = await asyncio.gather(*(sender.send(a_mail(number), PATIENCE_SECONDS) for number in range(8)))
    assert {each.reason for each in sent} == {None}
    assert len(relay.mails) == 16


@pytest.mark.parametrize("act", [Silence.DROP, Silence.HANG, "421 4.4.2 idle for too long"])
async def test_a_connection_that_turns_out_dead_is_replaced_without_failing_the_mail(act: Act) -> None:
    """Its end shows only when the next mail is begun, because a firewall forgot it or the goodbye was on its way."""
    relay = Relay()
    async with running(relay), sending(relay, smtp_connect_timeout_ms=SHORT_MS) as sender:
        assert (await sender.send(a_mail(), PATIENCE_SECONDS)).reason is None
        relay.once["MAIL"] = act
        assert (await sender.send(a_mail(2), PATIENCE_SECONDS)).reason is None
    assert relay.connections == 2
    assert len(relay.mails) == 2


async def test_one_dead_connection_is_enough_to_distrust_the_others() -> None:
    """A firewall that forgot one forgot all; a mail does not find that out connection by connection."""
    relay = Relay()
    async with running(relay), sending(relay, smtp_connections=3, smtp_connect_timeout_ms=SHORT_MS) as sender:
        await asyncio.gather(*(sender.send(a_mail(number), PATIENCE_SECONDS) for number in range(3)))
        made = relay.connections
        relay.once["MAIL"] = Silence.HANG
        assert (await sender.send(a_mail(4), PATIENCE_SECONDS)).reason is None
        assert relay.connections == made + 1
        await until(lambda: len(relay.open) == 1, "the others to be closed")


async def test_a_connection_that_lies_idle_is_closed_with_a_goodbye() -> None:
    """The relay's places are for those who send."""
    relay = Relay()
    async with running(relay), sending(relay, smtp_idle_ms=1) as sender:
        assert (await sender.send(a_mail(), PATIENCE_SECONDS)).reason is None
        await until(lambda: not relay.open, "the idle connection to be closed")
        assert relay.commands[-1] == "QUIT"


async def test_a_cancelled_mail_leaves_no_connection_behind() -> None:
    """A worker that stops does not wait for a relay that is silent."""
    relay = Relay(once={"AFTER_DATA": Silence.HANG})
    async with running(relay), sending(relay) as sender:
        task = asyncio.create_task(sender.send(a_mail(), PATIENCE_SECONDS))
        await until(lambda: "AFTER_DATA" in relay.commands, "the content to be there")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: not relay.open, "its connection to be closed")


async def test_a_report_of_its_fate_can_name_the_delivery() -> None:
    """Where the relay knows RFC 3461, the id goes with the mail and comes back in the report."""
    relay = Relay(extensions=("DSN",))
    async with running(relay), sending(relay) as sender:
        await sender.send(a_mail(), PATIENCE_SECONDS)
    assert {f"ENVID={a_mail().delivery_id}", "RET=HDRS"} <= set(relay.told["MAIL"].split())


@pytest.fixture(autouse=True)
def _settings_of_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A relay that the environment names is none of these."""
    for name in EmailSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_plain_text_leaves_this_machine_only_where_that_is_said(tmp_path: Path) -> None:
    """A password and reset links in plain text are an accident, unless somebody says otherwise."""
    relay = Relay(port=25)
    with pytest.raises(ValueError, match="SMTP_PLAIN_TEXT_ANYWHERE"):
        settings_for(relay, smtp_host="relay.example")
    settings_for(relay, smtp_host="relay.example", smtp_plain_text_anywhere=True)
