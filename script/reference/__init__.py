"""Writes the reference of the API: pages in Markdown, and one of HTML that needs nothing but itself.

Everything on them comes from the descriptors and their comments, from docs/retries.md, and from files beside this one:
``examples.toml`` has a request for every RPC, ``advice.toml`` says what to do about a reason, ``notes.toml`` the rest.
``script/generate`` runs it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from script.reference import examples, model, reasons
from script.reference.model import Contract, Method, Page
from script.reference.reasons import Reason

TEMPLATES: Final = Path(__file__).with_name("templates")
NOTES: Final = Path(__file__).with_name("notes.toml")
ROOT: Final = Path(__file__).parents[2]
# What may be the name of a reason or an RPC; before a parenthesis stands a code, of which two are named as reasons are.
WORD: Final = re.compile(r"\b[A-Z][A-Za-z]*(?:_[A-Z0-9]+)*\b(?! \()")
SERVICES: Final = (
    "UserService",
    "SessionService",
    "AccountService",
    "VerificationService",
    "NotificationService",
    "DeliveryService",
    "PreferenceService",
)


def pages(files: FileDescriptorSet, root: Path = ROOT) -> dict[str, str]:
    """Return the pages by file name. ``files`` come with comments, and with the declaration of the rules."""
    retries = (root / "docs" / "retries.md").read_text()
    contract = model.read(files, reasons.repeats(retries))
    told = examples.Examples(contract, examples.FILE.read_text())
    site = _Site(contract, told, reasons.read(contract.reasons, retries))
    written = {f"{page.name}.md": site.markdown("page.md.j2", page=page) for page in site.pages}
    written["README.md"] = site.markdown("README.md.j2")
    written["reasons.md"] = site.markdown("reasons.md.j2")
    written["index.html"] = site.html()
    return written


class _Site:
    def __init__(self, contract: Contract, told: examples.Examples, known: list[Reason]) -> None:
        self.pages = sorted(contract.pages, key=_place)
        for page in self.pages:
            for service in page.services:
                service.methods.sort(key=lambda method: told.order.index(method.key))
        self._reasons = {reason.name: reason for reason in known}
        self._methods = {method.name: method for method in contract.methods}
        self._types = {each.full_name: (page, each) for page in self.pages for each in page.types}
        self._environment = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=lambda name: name is not None and name.endswith(".html.j2"),  # noqa: S701 - Markdown is not
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.globals.update(
            pages=self.pages,
            reasons=known,
            notes=tomllib.loads(NOTES.read_text()),
            example=told.of,
            answers=self._answers,
            raised_by=self._raised_by(contract),
            page_of=lambda name: self._types[name][0].name,
            short=lambda name: self._types[name][1].name,
        )
        # Of a template in plain text, so that the page of HTML escapes it.
        for language in ("sh", "py"):
            begin = self._environment.get_template(f"begin.{language}.j2").render(begin=told.begin)
            self._environment.globals[f"begin_{language}"] = begin.rstrip()
        self._environment.filters.update(
            md=self._md, html=self._html, paragraphs=_paragraphs, cell=_cell, md_type=self._md_type
        )

    def markdown(self, template: str, **values: object) -> str:
        """Return a page in Markdown."""
        text = self._environment.get_template(template).render(values)
        return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"

    def html(self) -> str:
        """Return the page of HTML."""
        text = self._environment.get_template("index.html.j2").render()
        return "\n".join(line for line in text.splitlines() if line.strip()) + "\n"

    def _answers(self, method: Method) -> list[Reason]:
        return [self._reasons[name] for name in self._named(method.comment)]

    def _named(self, comment: str) -> list[str]:
        return list(dict.fromkeys(word for word in WORD.findall(comment) if word in self._reasons))

    def _raised_by(self, contract: Contract) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {name: [] for name in self._reasons}
        for service in contract.services:
            common = self._named(service.comment)
            for name in common:
                found[name].append(f"any call of {service.name}")
            for method in service.methods:
                for name in self._named(method.comment):
                    if name not in common:
                        found[name].append(method.name)
        return found

    def _md(self, text: str) -> str:
        return "".join(
            part if is_code else WORD.sub(self._md_link, part.replace("<", "&lt;").replace("*", "\\*"))
            for part, is_code in _split(_joined(text))
        )

    def _md_link(self, found: re.Match[str]) -> str:
        word = found[0]
        if word in self._reasons:
            return f"[{word}](reasons.md#{word.lower()})"
        if method := self._methods.get(word):
            return f"[{word}]({self._types[method.request][0].name}.md#{word.lower()})"
        return word

    def _html(self, text: str) -> Markup:
        parts = [
            f"<code>{escape(part[1:-1])}</code>" if is_code else WORD.sub(self._html_link, str(escape(part)))
            for part, is_code in _split(_joined(text))
        ]
        return Markup("".join(parts))  # noqa: S704 - escaped part by part

    def _html_link(self, found: re.Match[str]) -> str:
        word = found[0]
        return f'<a href="#{word}">{word}</a>' if word in self._reasons or word in self._methods else word

    def _md_type(self, each: model.Field) -> str:
        if not each.target:
            return f"`{each.kind}`"
        page, target = self._types[each.target]
        label, _, _ = each.kind.rpartition(" ")
        anchor = target.name.replace(".", "").lower()
        return f"{label} [{target.name}]({page.name}.md#{anchor})".lstrip()


def _place(page: Page) -> tuple[int, str]:
    return (SERVICES.index(page.services[0].name) if page.services else len(SERVICES), page.name)


def _joined(text: str) -> str:
    return " ".join(text.split())


def _split(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text, and whether each is code in backquotes."""
    for part in re.split(r"(`[^`]+`)", text):
        yield part, len(part) > 1 and part[0] == part[-1] == "`"


def _paragraphs(comment: str) -> list[str]:
    """Return the paragraphs of a comment; a line of its own that begins with a code in backquotes is one, too."""
    found: list[str] = []
    for block in comment.strip().split("\n\n"):
        found += re.split(r"\n(?= ?`[A-Z0-9_]+`: )", block)
    return found


def _cell(text: str) -> str:
    """Return a text as it may stand in a table of Markdown."""
    return text.replace("|", "\\|")
