"""Mails: of a notification what it says for email, or title and message in the server's template; or what was given.

A digest is made of titles and messages alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notifications_service.delivery.channels.channel import Mail
from notifications_service.delivery.channels.templates import DigestMail, NotificationMail, RenderedMail, Templates
from notifications_service.delivery.facts import Facts
from notifications_service.delivery.rules import SendNow
from notifications_service.outbox.direct import DirectSeal
from notifications_service.outbox.model import Kind
from notifications_service.preferences.model import Category
from notifications_service.preferences.unsubscribe import UnsubscribeLinks


class MailMaker:
    """Makes mails."""

    def __init__(self, templates: Templates, links: UnsubscribeLinks, seal: DirectSeal) -> None:
        self._templates = templates
        self._seal = seal
        self._links = links

    def mail(self, row: Mapping[str, Any], judged: SendNow, facts: Facts) -> Mail:
        """Return the mail of a delivery, in the language of the notification, else of its user.

        Raises TemplateFailed, or SealBroken.
        """
        if row["kind"] == Kind.DIRECT.value:
            return self._direct(row, judged, facts)
        if row["kind"] == Kind.DIGEST.value:
            return self._digest(row, judged, facts)
        notification, preferences = judged.notification, facts.preferences.get(judged.user.id)
        given = notification.get("email", {})
        category = notification.get("category", "")
        link = self._links.of_mail(judged.user.id, _category(category, facts), critical=bool(row.get("critical")))
        notice = NotificationMail(
            notification["title"],
            notification["message"],
            category,
            notification.get("data") or {},
            given.get("subject", ""),
            given.get("text", ""),
            given.get("html", ""),
            unsubscribe_url=link,
        )
        locales = (notification.get("locale", ""), preferences.locale if preferences else "")
        made = self._templates.render(notice, filter(None, locales))
        return Mail(
            row["_id"],
            judged.user.email,
            made.subject,
            made.text,
            made.html,
            given.get("replyTo", ""),
            unsubscribe_url=link,
            thread=notification.get("threadKey", ""),
        )

    def _digest(self, row: Mapping[str, Any], judged: SendNow, facts: Facts) -> Mail:
        content, preferences = facts.digests[row["_id"]], facts.preferences.get(judged.user.id)
        category = _category(row.get("category", ""), facts)
        link = self._links.of_mail(judged.user.id, category, critical=False)
        items = [(each["title"], each["message"]) for each in content.notifications]
        digest = DigestMail(items, content.total, category.name, category.title, link)
        made = self._templates.render_digest(digest, filter(None, (preferences.locale if preferences else "",)))
        return Mail(row["_id"], judged.user.email, made.subject, made.text, made.html, unsubscribe_url=link)

    def _direct(self, row: Mapping[str, Any], judged: SendNow, facts: Facts) -> Mail:
        given, preferences = self._seal.content(row), facts.preferences.get(judged.user.id)
        made = RenderedMail(given.subject, given.text, given.html)
        if given.purpose:
            locales = (given.locale, preferences.locale if preferences else "")
            made = self._templates.render_direct(given.purpose, given.variables, filter(None, locales))
        return Mail(row["_id"], judged.user.email, made.subject, made.text, made.html, given.reply_to)


def _category(name: str, facts: Facts) -> Category:
    return facts.categories.get(name) or Category(name)
