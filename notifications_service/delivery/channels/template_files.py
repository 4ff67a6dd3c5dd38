"""The files that mails are made of: the built-in ones and, before them, those of the folder EMAIL_TEMPLATES_DIR.

`layout`, `notification`, `notification/CATEGORY`, `digest`, `digest/CATEGORY`, `direct` and `direct/PURPOSE`, each as
`.html` and `.txt`, and for one language alone as `.LANGUAGE.html`; `words/LANGUAGE.toml`: what the built-in ones say;
`_NAME`: parts of others.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from chassis.settings import WrongSetting
from notifications_service.delivery.channels import languages
from notifications_service.delivery.channels.sandbox import Sandbox, TemplateFailed

BUILT_IN: Final = Path(__file__).with_name("mail_templates")
FALLBACK: Final = "en"
FRAME: Final = "frame"
DIGEST: Final = "digest"
LARGEST_FILE: Final = 64 * 1024
MOST_FILES: Final = 1_000
_is_used = re.compile(
    r"(?:(?:layout|notification|notification/[^/.]+|digest|digest/[^/.]+|direct|direct/[a-z][a-z0-9_]*)(?:\.[A-Za-z0-9-]+)?\.(?:html|txt)"
    r"|words/[A-Za-z0-9-]+\.toml|_[^/]+)"
).fullmatch
EXTENSIONS: Final = (".html", ".txt")
_of_one_language = re.compile(r"(.+)\.([A-Za-z0-9-]+)(\.html|\.txt)").fullmatch


class TemplateFiles:
    """The templates, compiled, and the words of each language. ``locale``: the language of those who want none."""

    def __init__(self, folder: str, locale: str) -> None:
        """Read all. Raises WrongSetting that names the file where one of the folder cannot be used."""
        own = _read(Path(folder)) if folder else {}
        built_in = _read(BUILT_IN)
        self._names = frozenset(name for name in built_in | own if name.endswith(EXTENSIONS))
        self._languages = _languages(self._names)
        self._words = _put_together(_all_words(built_in), _all_words(own))
        self._locale = locale
        self.sandbox = Sandbox(built_in | own)
        for name in sorted(own):
            self._check(name)

    def language(self, stems: Sequence[str], wanted: Iterable[str]) -> str:
        """Return the language of a mail of these templates, the nearest to what is wanted."""
        own = {found for stem in stems for extension in EXTENSIONS for found in self._there(stem, extension)}
        there = self._words.keys() | own
        return languages.chosen([*wanted, self._locale], there) or FALLBACK

    def find(self, stems: Sequence[str], extension: str, language: str) -> str | None:
        """Return the name of the first of these templates that there is, in the language if it is in several."""
        for stem in stems:
            nearest = languages.chosen([language], self._there(stem, extension))
            for name in (f"{stem}.{nearest}{extension}", f"{stem}{extension}"):
                if name in self._names:
                    return name
        return None

    def words(self, part: str, language: str) -> Mapping[str, str]:
        """Return what the built-in templates say in a part of theirs; empty where there is no such part."""
        nearest = languages.chosen([language, self._locale], self._words) or FALLBACK
        return self._words[nearest].get(part, {})

    def purposes(self) -> frozenset[str]:
        """Return the purposes of SendDirect that there are mails for."""
        own = {_purpose(name) for name in self._names if name.startswith("direct/")}
        return frozenset(self._words[FALLBACK].keys() - {FRAME, DIGEST} | own)

    def stems_of(self, purpose: str) -> tuple[str, ...]:
        """Return the templates of a purpose: its own, then the built-in ones where they have words for it."""
        return (f"direct/{purpose}", "direct") if purpose in self._words[FALLBACK] else (f"direct/{purpose}",)

    def _there(self, stem: str, extension: str) -> frozenset[str]:
        return self._languages.get((stem, extension), frozenset())

    def _check(self, name: str) -> None:
        if not _is_used(name):
            raise WrongSetting(f"EMAIL_TEMPLATES_DIR: no mail is made of {name}")
        try:
            if name.endswith(EXTENSIONS):
                self.sandbox.check(name)
        except TemplateFailed as error:
            raise WrongSetting(f"EMAIL_TEMPLATES_DIR: {error}") from None
        purpose = _purpose(name) if name.startswith("direct/") else ""
        if purpose and not any(self.find((stem,), ".txt", FALLBACK) for stem in self.stems_of(purpose)):
            raise WrongSetting(f"EMAIL_TEMPLATES_DIR: {name} needs a direct/{purpose}.txt, which sets the subject")


def _languages(names: Iterable[str]) -> dict[tuple[str, str], frozenset[str]]:
    """Return the languages that there are templates in, by stem and extension."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for name in names:
        if parts := _of_one_language(name):
            stem, language, extension = parts.groups()
            found[stem, extension] = found.get((stem, extension), frozenset()) | {language}
    return found


def _purpose(name: str) -> str:
    return name.removeprefix("direct/").partition(".")[0]


def _read(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their names in it, but those that editors and systems hide there."""
    found = (path for path in folder.rglob("*") if path.is_file())
    paths = [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    if len(paths) > MOST_FILES:
        raise WrongSetting(f"EMAIL_TEMPLATES_DIR: more than {MOST_FILES} files")
    return {path.relative_to(folder).as_posix(): _text(path) for path in paths}


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
        if len(content) > LARGEST_FILE:
            raise WrongSetting(f"EMAIL_TEMPLATES_DIR: {path.name} has more than {LARGEST_FILE} bytes")
        return content.decode()
    except OSError as error:
        raise WrongSetting(f"EMAIL_TEMPLATES_DIR: {path.name} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WrongSetting(f"EMAIL_TEMPLATES_DIR: {path.name} is not UTF-8") from None


Words = dict[str, dict[str, str]]


def _all_words(sources: Mapping[str, str]) -> dict[str, Words]:
    found = {}
    for name, text in sources.items():
        if name.startswith("words/"):
            try:
                parsed = tomllib.loads(text)
                found[Path(name).stem] = {part: {k: str(v) for k, v in said.items()} for part, said in parsed.items()}
            except (tomllib.TOMLDecodeError, AttributeError):
                raise WrongSetting(f"EMAIL_TEMPLATES_DIR: {name} is no TOML file of parts and texts") from None
    return found


def _put_together(built_in: Mapping[str, Words], own: Mapping[str, Words]) -> dict[str, Words]:
    """Return the words of each language; what one lacks is said as the built-in ones do, at worst in English."""
    together = {}
    for language in built_in.keys() | own.keys():
        layers = (built_in[FALLBACK], built_in.get(language, {}), own.get(language, {}))
        parts = {part for layer in layers for part in layer}
        together[language] = {part: _merged(part, layers) for part in parts}
    return together


def _merged(part: str, layers: Iterable[Words]) -> dict[str, str]:
    return {key: text for layer in layers for key, text in layer.get(part, {}).items()}
