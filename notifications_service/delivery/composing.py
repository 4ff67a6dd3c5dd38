"""The mail of a notification: what it says for email, or title and message in the server's template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from notifications_service.delivery.channels.channel import Mail
from notifications_service.delivery.channels.templates import Notice, Templates
from notifications_service.delivery.facts import Facts
from notifications_service.delivery.rules import SendNow


class MailMaker:
    """Makes mails."""

    def __init__(self, templates: Templates) -> None:
        self._templates = templates

    def mail(self, row: Mapping[str, Any], judged: SendNow, facts: Facts) -> Mail:
        """Return the mail of a delivery, in the language of the notification, else of its user.

        Raises TemplateFailed.
        """
        notification, preferences = judged.notification, facts.preferences.get(judged.user.id)
        given = notification.get("email", {})
        notice = Notice(
            notification["title"],
            notification["message"],
            notification.get("category", ""),
            notification.get("data") or {},
            given.get("subject", ""),
            given.get("text", ""),
            given.get("html", ""),
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
            thread=notification.get("threadKey", ""),
        )
