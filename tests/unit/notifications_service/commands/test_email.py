"""`notifications-service email preview`: mails to look at, without a database and without sending any."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from notifications_service.commands.email import email
from notifications_service.delivery.channels.settings import MessageSettings
from notifications_service.delivery.channels.templates import Templates


@pytest.fixture(autouse=True)
def _settings_of_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the environment, database or relay is needed."""
    for name in MessageSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def preview(*arguments: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(email, ["preview", *arguments])


def test_it_prints_a_mail_as_text_and_as_html() -> None:
    """Of a category, as its reader gets it."""
    text, html = preview("billing").output, preview("billing", "--html").output
    assert text.startswith("Subject: Your weekly report is ready\n\n")
    assert "<hours> & minutes" in text
    assert "&lt;hours&gt; &amp; minutes" in html


def test_every_purpose_can_be_looked_at() -> None:
    """With a code or with a link, in both languages."""
    for purpose in Templates(MessageSettings()).purposes():
        for options in ([], ["--link"], ["--locale", "pt-BR"]):
            shown = preview("--purpose", purpose, *options)
            assert shown.exit_code == 0, shown.output
    assert "042137" in preview("--purpose", "sign_in").output
    assert "042137" not in preview("--purpose", "sign_in", "--link").output
    assert "Olá, Bia!" in preview("--purpose", "sign_in", "--locale", "pt", "--with", "name=Bia").output


def test_a_digest_can_be_looked_at() -> None:
    """With so many notifications as are asked for, in both languages; it tells fifty of them."""
    shown = preview("billing", "--digest", "53").output
    assert shown.startswith("Subject: billing: 53 new notifications\n\n")
    assert shown.count("\n* ") == 50
    assert "And 3 more." in shown
    assert preview("--digest", "1", "--locale", "pt-BR").output.startswith("Subject: 1 nova notificação\n")
    assert "E mais 1." in preview("--digest", "51", "--locale", "pt-BR", "--html").output


def test_it_writes_both_into_a_folder(tmp_path: Path) -> None:
    """Named for what they are, for a browser."""
    shown = preview("a/b", "--locale", "pt-BR", "--folder", str(tmp_path / "previews"))
    assert [Path(line).name for line in shown.output.splitlines()] == ["a%2Fb.pt-BR.html", "a%2Fb.pt-BR.txt"]
    assert "Cancelar" in (tmp_path / "previews" / "a%2Fb.pt-BR.html").read_text()


def test_a_template_that_fails_is_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This is how its author finds the mistake."""
    monkeypatch.setenv("EMAIL_TEMPLATES_DIR", str(tmp_path))
    (tmp_path / "notification.txt").write_text("{{ nothing }}")
    shown = preview()
    assert shown.exit_code == 1
    assert shown.output == "notification.txt, line 1: UndefinedError 'nothing' is undefined\n"
    assert preview("--purpose", "unknown").output == "direct/unknown: there is no such template\n"
