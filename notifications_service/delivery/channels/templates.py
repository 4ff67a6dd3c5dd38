"""Mails made of templates, in the reader's language: of notifications, and for the purposes of SendDirect."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from notifications_service.delivery.channels.mime import one_line
from notifications_service.delivery.channels.sandbox import TemplateFailed
from notifications_service.delivery.channels.settings import MessageSettings
from notifications_service.delivery.channels.template_files import DIGEST, FALLBACK, FRAME, TemplateFiles

SUBJECT_CHARACTERS: Final = 255
# Of a title and a message in a digest: fifty of them stay within the bounds of a template, whatever they hold.
TITLE_CHARACTERS: Final = 150
EXCERPT_CHARACTERS: Final = 280
MINUTES_OF_AN_HOUR: Final = 60
BLANK_LINE: Final = "\n\n"
_blank_lines = re.compile(r"\n[ \t]*(?:\n[ \t]*)+\n")
_placeholder = re.compile(r"\{([a-z][a-z0-9_]*)\}")
_is_url = re.compile(r"(?!javascript:|data:)[a-z][a-z0-9+.-]*:[^\s<>\"]+", re.IGNORECASE).fullmatch


@dataclass(frozen=True, slots=True)
class RenderedMail:
    """What a mail says. ``html`` empty: it is of text alone."""

    subject: str = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotificationMail:
    """The content of a notification's mail; ``subject``, ``text`` and ``html``, where given, are sent as they are."""

    title: str = field(repr=False)
    message: str = field(repr=False)
    category: str = ""
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)
    subject: str = field(default="", repr=False)
    text: str = field(default="", repr=False)
    html: str = field(default="", repr=False)
    unsubscribe_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class DigestMail:
    """The content of a digest: titles and messages, the newest first, of ``total``; ``title``: the category's."""

    items: Sequence[tuple[str, str]] = field(repr=False)
    total: int
    category: str = ""
    title: str = ""
    unsubscribe_url: str = field(default="", repr=False)


class Templates:
    """All templates, read once; rendering touches no file and takes about a millisecond of the caller's thread."""

    def __init__(self, settings: MessageSettings) -> None:
        """Read them. Raises WrongSetting where one of the folder cannot be used."""
        self._files = TemplateFiles(settings.email_templates_dir, settings.email_locale)
        self._product = one_line(settings.email_from_name) or settings.email_from.rpartition("@")[2]

    def purposes(self) -> frozenset[str]:
        """Return the purposes of SendDirect that there are templates for."""
        return self._files.purposes()

    def needs_proof(self, purpose: str) -> bool:
        """Say whether mails for a purpose carry a code, or a link with a token."""
        return "needs" in self._files.words(purpose, FALLBACK)

    def render(self, notice: NotificationMail, locales: Iterable[str] = ()) -> RenderedMail:
        """Return the mail of a notification, in the first of the languages (BCP 47) that there is a template in.

        Raises TemplateFailed.
        """
        stems = (f"notification/{file_name(notice.category)}", "notification")
        variables = {
            "title": one_line(notice.title),
            "message": notice.message,
            "category": notice.category,
            "data": notice.data,
            "unsubscribe_url": notice.unsubscribe_url,
        }
        given = RenderedMail(notice.subject, notice.text, notice.html)
        return self._made(stems, variables, locales, {}, given)

    def render_direct(self, purpose: str, variables: Mapping[str, str], locales: Iterable[str] = ()) -> RenderedMail:
        """Return the mail for a purpose, filled with what the caller gives; languages and errors as ``render``."""
        if purpose not in self.purposes():
            raise TemplateFailed(f"direct/{purpose}: there is no such template")
        if not _is_url(variables.get("url", "x:y")):
            raise TemplateFailed(f"direct/{purpose}: url is no URL that a reader could open")
        stems = self._files.stems_of(purpose)
        language = self._files.language(stems, locales)
        said = _filled(self._files.words(purpose, language), dict(variables, product=self._product))
        missing = said.get("needs", "").split()  # one of these
        if missing and not any(name in variables for name in missing):
            raise TemplateFailed(f"direct/{purpose}: needs {' or '.join(missing)}")
        everything = dict(
            variables, purpose=purpose, valid=self._valid(variables.get("minutes", ""), language) if missing else ""
        )
        return self._made(stems, everything, locales, said, RenderedMail("", "", ""))

    def render_digest(self, digest: DigestMail, locales: Iterable[str] = ()) -> RenderedMail:
        """Return the mail of a digest; languages and errors as ``render``."""
        stems = (f"{DIGEST}/{file_name(digest.category)}", DIGEST)
        language, more = self._files.language(stems, locales), digest.total - len(digest.items)
        words = self._files.words(DIGEST, language)
        heading = _counted(words, "heading", digest.total)
        title = one_line(digest.title)
        said = {**words, "heading": heading, "more": _counted(words, "more", more)}
        said["subject"] = f"{title}: {heading}" if title else heading
        items = [
            {"title": _excerpt(title, TITLE_CHARACTERS), "message": _excerpt(message, EXCERPT_CHARACTERS)}
            for title, message in digest.items
        ]
        variables = {
            "items": items,
            "total": digest.total,
            "more": more,
            "category": digest.category,
            "category_title": title,
            "unsubscribe_url": digest.unsubscribe_url,
        }
        return self._made(stems, variables, locales, said, RenderedMail("", "", ""))

    def _made(
        self,
        stems: Sequence[str],
        variables: Mapping[str, Any],
        locales: Iterable[str],
        said: Mapping[str, str],
        given: RenderedMail,
    ) -> RenderedMail:
        language = self._files.language(stems, locales)
        frame = _filled(self._files.words(FRAME, language), {"product": self._product})
        full = {**variables, "words": {**frame, **said}, "language": language, "product": self._product}
        values: dict[str, Any] = {}
        text, html = given.text, given.html
        if not text or not given.subject:
            made = self._rendered(stems, ".txt", language, full, values)
            text = text or f"{_blank_lines.sub(BLANK_LINE, made).strip()}\n"
        subject = one_line(given.subject or str(values.get("subject", "")) or str(variables.get("title", "")))
        if not subject:
            raise TemplateFailed(f"{stems[0]}: the template sets no subject")
        if not html:
            html = self._rendered(stems, ".html", language, dict(full, subject=subject), values)
        return RenderedMail(_cut(subject), text, html)

    def _rendered(
        self, stems: Sequence[str], extension: str, language: str, variables: Mapping[str, Any], values: dict[str, Any]
    ) -> str:
        name = self._files.find(stems, extension, language)
        if name is None:
            return ""
        rendering = self._files.sandbox.render(name, variables)
        values.update(rendering.values)
        return rendering.text

    def _valid(self, minutes: str, language: str) -> str:
        """Say for how long a code or a link is good, in whole hours where it is some."""
        number = int(minutes[:6]) if minutes.isascii() and minutes.isdecimal() else 0
        if not number:
            return ""
        hours, rest = divmod(number, MINUTES_OF_AN_HOUR)
        unit, shown = ("minute", number) if rest else ("hour", hours)
        words = self._files.words(FRAME, language)
        return words[f"valid_{unit}" if shown == 1 else f"valid_{unit}s"].replace("{number}", str(shown))


def file_name(category: str) -> str:
    """Return what a category's templates are called: its name, with all but letters, digits, `_` and `-` encoded."""
    return quote(category, safe="").replace(".", "%2E")


def _counted(words: Mapping[str, str], part: str, number: int) -> str:
    """Return what is said of a number of notifications."""
    return words[f"{part}_one" if number == 1 else f"{part}_many"].replace("{number}", str(number))


def _excerpt(text: str, most: int) -> str:
    """Return the beginning of a text, in one line."""
    line = one_line(text[: 2 * most])
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def _filled(words: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return what is said with its placeholders filled; what has one that is not given is not said."""
    return {
        key: _placeholder.sub(lambda found: variables[found[1]], text)
        for key, text in words.items()
        if all(name in variables for name in _placeholder.findall(text))
    }


def _cut(subject: str) -> str:
    if len(subject) <= SUBJECT_CHARACTERS:
        return subject
    return f"{subject[: SUBJECT_CHARACTERS - 1].rstrip()}…"
