"""``notifications-service email``: mails as readers see them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from chassis.commands.cli import fail
from chassis.settings import WrongSetting, load
from notifications_service.delivery.channels.sandbox import TemplateFailed
from notifications_service.delivery.channels.settings import MessageSettings
from notifications_service.delivery.channels.templates import (
    DigestMail,
    NotificationMail,
    RenderedMail,
    Templates,
    file_name,
)
from notifications_service.delivery.digesting import SHOWN

NOTIFICATION: Final = NotificationMail(
    title="Your weekly report is ready",
    message="Last week 1,204 people used what you made: 12 % more than the week before.\n\n"
    "Most came on Tuesday.\nThe report has the rest, down to <hours> & minutes.",
    data={"example": True},
    unsubscribe_url="https://example.com/unsubscribe?token=example",
)
# Beside that one in a digest.
SHOWN_BESIDE: Final = (
    ("Grace commented on your draft", "“The second paragraph says it best. Could it come first?”"),
    ("Your storage is nearly full", ""),
)
VARIABLES: Final = {
    "name": "Ada",
    "minutes": "60",
    "new_email": "ada@example.com",
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64; rv:142.0) Gecko/20100101 Firefox/142.0",
    "ip_address": "2001:db8::7",
    "location": "Berlin, Germany",
    "time": "2026-11-27 16:30 UTC",
}
CODE: Final = {"code": "042137"}
LINK: Final = {"url": "https://example.com/confirm?token=Zm9yIGV4YW1wbGUgb25seSwgbm90IGEgdG9rZW4"}


@click.group()
def email() -> None:
    """Mails as readers see them."""


@email.command()
@click.argument("category", required=False, default="")
@click.option("--purpose", help="A mail of SendDirect in place of a notification's.")
@click.option("--digest", type=click.IntRange(1), metavar="NUMBER", help="A digest of so many notifications.")
@click.option("--link", is_flag=True, help="With a link in place of a code.")
@click.option("--locale", default="", help="The language (BCP 47), for example pt-BR; default: EMAIL_LOCALE.")
@click.option("--with", "given", multiple=True, metavar="NAME=VALUE", help="A variable of the template; any number.")
@click.option("--folder", type=click.Path(path_type=Path), help="Write .html and .txt there, and print their names.")
@click.option("--html", is_flag=True, help="Print the HTML in place of the text.")
def preview(
    category: str,
    purpose: str | None,
    *,
    digest: int | None,
    link: bool,
    locale: str,
    given: tuple[str, ...],
    folder: Path | None,
    html: bool,
) -> None:
    """Show what a mail looks like, with made-up content: of a notification or a digest of CATEGORY, or of a purpose.

    Needs no database, and sends nothing. The templates are those of EMAIL_TEMPLATES_DIR, then the built-in ones.
    """
    own = dict(pair.partition("=")[::2] for pair in given)
    locales = [locale] if locale else []
    try:
        if digest is None:
            made = _made(category, purpose, locales, own, LINK if link else CODE)
        else:
            made = _templates().render_digest(_digest(category, digest, own), locales)
    except (TemplateFailed, WrongSetting) as error:
        fail(str(error))
    if folder is None:
        click.echo(made.html if html else f"Subject: {made.subject}\n\n{made.text}", nl=False)
        return
    name = purpose or file_name(category) or ("notification" if digest is None else "digest")
    _write(folder, f"{name}.{locale}" if locale else name, made)


def _templates() -> Templates:
    settings = load(MessageSettings)
    return Templates(settings.model_copy(update={"email_from": settings.email_from or "no-reply@example.com"}))


def _digest(category: str, number: int, own: dict[str, str]) -> DigestMail:
    one = own.get("title", NOTIFICATION.title), own.get("message", NOTIFICATION.message)
    link = own.get("unsubscribe_url", NOTIFICATION.unsubscribe_url)
    items = [one, *SHOWN_BESIDE] * SHOWN
    return DigestMail(items[: min(number, SHOWN)], number, category, category, link)


def _made(
    category: str, purpose: str | None, locales: list[str], own: dict[str, str], proof: dict[str, str]
) -> RenderedMail:
    templates = _templates()
    if purpose is None:
        shown = NotificationMail(
            own.get("title", NOTIFICATION.title), own.get("message", NOTIFICATION.message), category, NOTIFICATION.data,
            unsubscribe_url=own.get("unsubscribe_url", NOTIFICATION.unsubscribe_url),
        )  # fmt: skip
        return templates.render(shown, locales)
    needed = proof if templates.needs_proof(purpose) else LINK
    return templates.render_direct(purpose, VARIABLES | needed | own, locales)


def _write(folder: Path, name: str, made: RenderedMail) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for extension, content in ((".html", made.html), (".txt", f"Subject: {made.subject}\n\n{made.text}")):
        path = folder / f"{name}{extension}"
        path.write_text(content)
        click.echo(str(path))
