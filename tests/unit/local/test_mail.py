"""The mail catcher of script/server: what comes is kept and shown, and nothing that is set is passed over."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import Envelope
from vibework.testing.local import mail_catcher, ports
from vibework.testing.local.problems import LocalProblem

from chassis.clock import utc_now
from notifications_service.delivery.channels.assembly import tls_context
from notifications_service.delivery.channels.channel import Mail
from notifications_service.delivery.channels.settings import EmailSettings
from notifications_service.delivery.channels.smtp import SMTPSender
from script.local import services, show_mail
from script.local.mail import MailCatcher, folder_in
from tests.harness.patience import PATIENCE_SECONDS, until

NAMED = (
    "SMTP_HOST",
    "MAIL_PORT",
    "EMAIL_FROM",
    "EMAIL_FROM_NAME",
    "SECRET_KEYS",
    *map(str.upper, EmailSettings.model_fields),
)


@pytest.fixture(autouse=True)
def _settings_of_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where mails go is the test's own."""
    for name in NAMED:
        monkeypatch.delenv(name, raising=False)


@contextmanager
def catching(directory: Path) -> Iterator[MailCatcher]:
    """Run a catcher."""
    (directory / "logs").mkdir()
    catcher = MailCatcher(directory, usual_port=False)
    catcher.start()
    try:
        yield catcher
    finally:
        for process in catcher.processes():
            assert process.stop() == 0


async def test_a_mail_is_caught_logged_and_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """As script/server, and script/mail in another terminal, do it; the services' settings lead there."""
    with catching(tmp_path) as catcher:
        settings = EmailSettings(**{name.lower(): value for name, value in catcher.environment().items()})  # type: ignore[arg-type]
        sender = SMTPSender(settings, tls_context(settings), utc_now)
        for number, subject in enumerate(["Olá", "Second"]):
            mail = Mail(f"dlv_{number}", "ada@example.com", subject, f"Text of {subject}\n", f"<p>{subject}</p>")
            assert (await sender.send(mail, PATIENCE_SECONDS)).reason is None
        sender.close()
        await until(lambda: "mail to ada@example.com: Second" in catcher.log.read_text(), "the line in the log")
        catcher.forget_log()
        assert catcher.log.read_text() == ""
    assert [path.suffix for path in folder_in(tmp_path).iterdir()] == [".eml", ".eml"]
    capfd.readouterr()
    assert show_mail.main(["--directory", str(tmp_path)]) == 0
    out = capfd.readouterr().out
    assert "From: VibeWork <no-reply@vibework.example>\nTo: ada@example.com\nSubject: Second\n" in out
    assert out.endswith("\nText of Second\n")
    assert show_mail.main(["-n", "2", "--html", "--directory", str(tmp_path)]) == 0
    assert capfd.readouterr().out == "<p>Olá</p>\n"
    assert show_mail.main(["-n", "3", "--directory", str(tmp_path)]) == 1
    assert capfd.readouterr().err == f"mail: 2 mails have been caught ({folder_in(tmp_path)})\n"


async def test_a_mail_that_cannot_be_written_is_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk loses no mail: whoever sends it keeps it."""
    folder = mail_catcher.Folder(tmp_path / "mail")

    def no_room(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    envelope = Envelope()
    envelope.original_content = b"Subject: x\r\n\r\n"
    assert (await folder.handle_DATA(None, None, envelope)).startswith("452 ")  # type: ignore[arg-type]


async def test_the_newest_mails_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A load test does not fill the disk, and the next run goes on after what is there."""
    monkeypatch.setattr(mail_catcher, "MOST_KEPT", 3)
    for run in range(2):
        folder = mail_catcher.Folder(tmp_path)
        for number in range(3):
            envelope = Envelope()
            envelope.rcpt_tos, envelope.original_content = ["a@b.c"], b"Subject: %d-%d\r\n\r\n" % (run, number)
            await folder.handle_DATA(None, None, envelope)  # type: ignore[arg-type]
    assert subjects(tmp_path) == ["1-0", "1-1", "1-2"]


def subjects(folder: Path) -> list[str]:
    """Return the subjects of the mails in a folder, oldest first."""
    return [path.read_text().split()[1] for path in sorted(folder.glob("*.eml"))]


def test_a_relay_that_the_environment_names_gets_the_mails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is caught then, and nothing is set in its place."""
    monkeypatch.setenv("SMTP_HOST", "relay.example")
    catcher = MailCatcher(tmp_path, usual_port=True)
    catcher.start()
    assert (catcher.processes(), dict(catcher.environment())) == ([], {})
    assert "relay.example" in catcher.lines()[0]


@pytest.mark.parametrize("named", ["0", "x", "70000"])
def test_a_port_that_is_none_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    """In one line that names the variable."""
    monkeypatch.setenv("MAIL_PORT", named)
    with pytest.raises(LocalProblem, match="MAIL_PORT is not a port number"):
        MailCatcher(tmp_path, usual_port=True)


def test_a_port_that_is_taken_is_said_where_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual one, taken by another catcher, is passed over instead."""
    with socket.create_server((ports.LOOPBACK, 0)) as taken:
        monkeypatch.setenv("MAIL_PORT", str(taken.getsockname()[1]))
        with pytest.raises(LocalProblem, match="MAIL_PORT"):
            MailCatcher(tmp_path, usual_port=True)


def test_the_notifications_service_alone_is_told_of_the_relay(tmp_path: Path) -> None:
    """The users service mails nothing itself."""
    mail = MailCatcher(tmp_path, usual_port=False).environment()
    users, notifications = services.pair({}, {"USERS_SECRET_KEYS": "u:1", "NOTIFICATIONS_SECRET_KEYS": "n:1"}, mail)
    assert "SMTP_HOST" not in users.settings
    assert notifications.settings["SMTP_HOST"] == ports.LOOPBACK
