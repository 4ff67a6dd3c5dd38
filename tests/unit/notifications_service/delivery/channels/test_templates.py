"""Mails made of templates: the built-in ones in both languages, those of a folder, and templates that go wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from chassis.settings import WrongSetting
from notifications_service.delivery.channels.sandbox import MOST_CHARACTERS, TemplateFailed
from notifications_service.delivery.channels.settings import MessageSettings
from notifications_service.delivery.channels.templates import DigestMail, NotificationMail, Templates

PROOFS: Final = ("email_verification", "password_reset", "sign_in", "email_change")
NOTICES: Final = ("email_changed", "password_changed", "new_sign_in", "welcome")
HOSTILE: Final = "<script>alert('x')</script> \"&' {{ 7 * 7 }}"


def templates(folder: Path | None = None, **changed: Any) -> Templates:
    """Return the templates of a folder, before the built-in ones."""
    chosen: dict[str, Any] = {"email_from": "no-reply@vibe.example", "email_from_name": "Vibe"}
    return Templates(MessageSettings(email_templates_dir=str(folder or ""), **(chosen | changed)))


def folder_with(folder: Path, **files: str) -> Path:
    """Write files, whose names have `__` for `/` and end in an extension after `___`."""
    for name, content in files.items():
        stem, _, extension = name.rpartition("___")
        path = folder / f"{stem.replace('__', '/').replace('_LANG_', '.')}.{extension.replace('_', '.')}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def test_a_notification_is_title_and_message() -> None:
    """Escaped in HTML, as it is in plain text, and paragraphs stay paragraphs."""
    made = templates().render(NotificationMail(f"Report\r\n{HOSTILE}", f"One\nline\n\nTwo {HOSTILE}"))
    assert made.subject == f"Report {HOSTILE}"
    assert f"Two {HOSTILE}" in made.text
    assert "One<br>\nline</p>" in made.html
    assert "<script>" not in made.html
    assert "{{ 7 * 7 }}" in made.html


def test_a_notification_that_can_be_unsubscribed_from_says_so() -> None:
    """In the text and in the HTML, in the reader's language; one that cannot does not."""
    url = "https://vibe.example/u?a=1&b=2"
    made = templates().render(NotificationMail("Title", "Text", unsubscribe_url=url), ["pt-PT"])
    assert f"Cancelar inscrição: {url}" in made.text
    assert 'href="https://vibe.example/u?a=1&amp;b=2"' in made.html
    assert '<html lang="pt-BR"' in made.html
    assert "nsubscribe" not in templates().render(NotificationMail("Title", "Text")).text


def test_what_the_caller_wrote_is_sent_as_it_is() -> None:
    """Each of subject, text and HTML for itself; what is not given is made of the template."""
    made = templates().render(NotificationMail("Title", "Message", subject="Subject", html="<p>Mine</p>"))
    assert (made.subject, made.html) == ("Subject", "<p>Mine</p>")
    assert "Message" in made.text
    made = templates().render(NotificationMail("Title", "Message", text="Mine"))
    assert (made.subject, made.text) == ("Title", "Mine")
    assert "Message" in made.html


@pytest.mark.parametrize("locale", ["en", "pt-BR"])
@pytest.mark.parametrize("purpose", PROOFS)
@pytest.mark.parametrize("proof", ["code", "url"])
def test_mails_with_a_proof_carry_it_and_nothing_left_open(purpose: str, proof: str, locale: str) -> None:
    """The code, or the link, in text and HTML, with how long it is good for; no placeholder is left."""
    value = {"code": "042137", "url": "https://vibe.example/v?token=a&b=c"}[proof]
    made = templates().render_direct(purpose, {proof: value, "minutes": "120", "name": HOSTILE}, [locale])
    assert value in made.text
    assert value.replace("&", "&amp;") in made.html
    assert {"en": "2 hours", "pt-BR": "2 horas"}[locale] in made.text
    for said in (made.subject, made.text.replace(HOSTILE, ""), made.html.split("</style>")[1].replace("{{ 7", "")):
        assert "{" not in said
    assert "<script>" not in made.html


@pytest.mark.parametrize("locale", ["en", "pt-BR"])
@pytest.mark.parametrize("purpose", NOTICES)
def test_security_notices_need_nothing(purpose: str, locale: str) -> None:
    """What is known of a sign-in is shown, and what is not is left out."""
    made = templates().render_direct(purpose, {}, [locale])
    assert made.subject
    assert made.html
    assert "None" not in made.text + made.html
    shown = templates().render_direct("new_sign_in", {"ip_address": "192.0.2.1"}, [locale])
    assert "192.0.2.1" in shown.text
    assert "192.0.2.1" in shown.html


def test_every_purpose_is_said_in_every_language() -> None:
    """A key that one language lacks would come in English, in the middle of a mail."""
    files = templates()._files
    english, portuguese = files._words["en"], files._words["pt-BR"]
    assert {part: words.keys() for part, words in english.items()} == {
        part: words.keys() for part, words in portuguese.items()
    }
    assert set(PROOFS) | set(NOTICES) == templates().purposes()
    for part, words in english.items():
        same = [key for key in words if key != "needs" and words[key] == portuguese[part][key]]
        assert same == []


def test_a_proof_that_is_missing_or_cannot_be_opened_fails() -> None:
    """Nobody is sent a mail that asks for a code and has none, or a link that runs a script."""
    for variables in ({}, {"name": "Ada"}, {"url": "javascript:alert(1)"}, {"url": "nowhere"}):
        with pytest.raises(TemplateFailed):
            templates().render_direct("sign_in", variables)
    with pytest.raises(TemplateFailed):
        templates().render_direct("unknown", {})


def test_the_language_is_that_of_the_settings_where_nobody_wants_another() -> None:
    """Request and preferences come first, in this order."""
    portuguese = templates(email_locale="pt-BR")
    assert portuguese.render_direct("welcome", {}).subject == "Boas-vindas a Vibe"
    assert portuguese.render_direct("welcome", {}, ["fr", "en-GB"]).subject == "Welcome to Vibe"
    assert templates(email_locale="fr").render_direct("welcome", {}).subject == "Welcome to Vibe"


def test_a_folder_overrides_by_category_and_by_purpose(tmp_path: Path) -> None:
    """One category, one purpose, a purpose of its own, the frame of all, words of another language."""
    folder_with(
        tmp_path,
        layout___html="<b>{% block body %}{% endblock %}</b>",
        notification__billing___txt="{% set subject = 'Bill: ' ~ title %}{{ data.amount }} due",
        notification__billing_LANG_de___txt="{% set subject = 'Rechnung' %}{{ data.amount }} fällig",
        direct__welcome___txt="{% set subject = 'Hey' %}Hey {{ name }}",
        direct__invite___txt="{% set subject = words.automatic %}Join {{ team }}",
        words__fr___toml='[welcome]\nheading = "Bienvenue"\n[frame]\nautomatic = "Automatique"',
    )
    made = templates(tmp_path)
    bill = NotificationMail("July", "m", "billing", {"amount": 7})
    assert (made.render(bill).subject, made.render(bill).text) == ("Bill: July", "7 due\n")
    assert made.render(bill).html.startswith("<b>")
    assert made.render(bill, ["de-AT"]).text == "7 fällig\n"
    assert made.render(NotificationMail("July", "m", "other")).text.startswith("July")
    assert made.render_direct("welcome", {"name": "Ada"}).text == "Hey Ada\n"
    assert made.render_direct("invite", {"team": "A"}, ["fr"]).subject == "Automatique"
    assert made.render_direct("invite", {"team": "A"}).html == ""
    assert "Bienvenue" in made.render_direct("welcome", {"name": "Ada"}, ["fr-CA"]).html


def test_a_category_is_no_path(tmp_path: Path) -> None:
    """A category's name may hold anything, and finds its own file alone."""
    folder_with(tmp_path, notification__a___txt="{% set subject = 'a' %}a")
    (tmp_path / "notification" / "x%2F%2E%2E%2Fa.txt").write_text("{% set subject = 's' %}slash")
    made = templates(tmp_path)
    assert made.render(NotificationMail("t", "m", "x/../a")).text == "slash\n"
    assert made.render(NotificationMail("t", "m", "../notification/a")).text.startswith("t\n")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("notification.txt", "{% if %}", "notification.txt, line 1"),
        ("notifications.txt", "x", "no mail is made of notifications.txt"),
        ("direct/invite.html", "x", "needs a direct/invite.txt"),
        ("words/fr.toml", "welcome =", "words/fr.toml is no TOML"),
        ("notification.html", "\ud800", "is not UTF-8"),
        ("notification.html", "x" * 70_000, "more than 65536 bytes"),
    ],
)
def test_a_folder_with_a_mistake_stops_the_start(tmp_path: Path, name: str, content: str, said: str) -> None:
    """One line names the setting and the file; nobody finds out by mails that fail."""
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(WrongSetting, match="EMAIL_TEMPLATES_DIR") as stopped:
        templates(tmp_path)
    assert said in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ missing }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ message.format(message) }}",
        "{{ 'x'.ljust(1000000000) }}",
        "{{ 'x' * 1000000000 }}",
        "{{ 2 ** 1000000000 }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ range(1000000000) | list }}",
        "{{ data.update({'a': 1}) }}",
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(9999) %}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for a in range(99) %}{% set ns.x = [ns.x, ns.x] | join %}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% include 'notification.txt' %}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_that_goes_wrong_ends_within_bounds(tmp_path: Path, template: str) -> None:
    """It neither reaches the server, nor fills its memory, nor holds up its event loop; its mail alone fails."""
    (tmp_path / "notification.txt").write_text("{% set subject = 'x' %}" + template)
    made = templates(tmp_path)
    with pytest.raises(TemplateFailed) as failed:
        made.render(NotificationMail("secret title", "secret message", data={"a": "secret"}))
    assert "secret" not in str(failed.value)
    assert "notification.txt" in str(failed.value)
    # The next mail has a budget of its own.
    assert made.render_direct("welcome", {}).text


def test_output_has_a_bound_even_where_each_piece_is_small(tmp_path: Path) -> None:
    """A template that prints a large message over and over ends."""
    (tmp_path / "notification.txt").write_text("{% for a in range(99) %}{{ message }}{% endfor %}")
    with pytest.raises(TemplateFailed, match=str(MOST_CHARACTERS)):
        templates(tmp_path).render(NotificationMail("t", "m" * 4096 * 2))


def test_a_subject_is_one_line_of_bounded_length(tmp_path: Path) -> None:
    """Whatever a template makes of it."""
    (tmp_path / "notification.txt").write_text("{% set subject = 'a\\r\\nBcc: x ' ~ message %}x")
    subject = templates(tmp_path).render(NotificationMail("t", "m" * 500)).subject
    assert subject.startswith("a Bcc: x m")
    assert len(subject) == 255


@pytest.mark.parametrize(
    ("total", "locale", "subject", "more"),
    [
        (1, "en", "1 new notification", ""),
        (2, "en", "2 new notifications", ""),
        (51, "en", "51 new notifications", "And 1 more."),
        (5_000, "en", "5000 new notifications", "And 4950 more."),
        (1, "pt-BR", "1 nova notificação", ""),
        (52, "pt-BR", "52 novas notificações", "E mais 2."),
    ],
)
def test_a_digest_says_how_many_there_are(total: int, locale: str, subject: str, more: str) -> None:
    """In its subject, and at its end how many it does not tell; in both languages."""
    items = [(f"Title {number} {HOSTILE}", f"One\n\n{HOSTILE}") for number in range(min(total, 50))]
    made = templates().render_digest(
        DigestMail(items, total, "news", unsubscribe_url="https://vibe.example/u"), [locale]
    )
    assert made.subject == subject
    for number in range(len(items)):
        assert f"* Title {number} {HOSTILE}\n  One {HOSTILE}" in made.text
    assert "<script>" not in made.html
    for part in (made.text, made.html):
        assert more in part
        assert ("And " in part or "E mais " in part) == bool(more)
    assert "https://vibe.example/u" in made.text
    assert (
        templates().render_digest(DigestMail(items, total, title="News\n2"), [locale]).subject == f"News 2: {subject}"
    )


def test_a_digest_tells_the_beginning_of_long_messages() -> None:
    """Even the longest contents stay within the bounds of templates."""
    made = templates().render_digest(DigestMail([("&" * 1_024, "<" * 100_000)] * 50, 50))
    assert made.text.count("…") == 100
    assert len(made.text) < 100_000


def test_a_folder_overrides_digests_by_category(tmp_path: Path) -> None:
    """Others keep the built-in one; what it says may be changed alone."""
    own = (
        "{% set subject = category_title %}{% for item in items %}{{ item.title }}, {% endfor %}{{ more }}/{{ total }}"
    )
    files = {"digest__news___txt": own, "words__en___toml": '[digest]\nheading_many = "{number} things"\n'}
    made = templates(folder_with(tmp_path, **files))
    items = [("A", ""), ("B", "")]
    news = made.render_digest(DigestMail(items, 5, "news", "The news"))
    assert (news.subject, news.text) == ("The news", "A, B, 3/5\n")
    other = made.render_digest(DigestMail(items, 2, "other"))
    assert other.subject == "2 things"
    assert "digest" not in made.purposes()
