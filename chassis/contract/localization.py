"""Messages of errors for people, in the language that a call asks for: ``google.rpc.LocalizedMessage`` (AIP-193).

A call that names no language gets none: programs read reasons. Each language has a catalogue (``catalogues/``), by
reason and by the rule that a field breaks.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

HEADER: Final = "accept-language"
# In the order of preference where a call likes several as well.
LOCALES: Final = ("en", "pt-BR")
# Longer values are no languages that anybody has.
MOST_CHARACTERS: Final = 256
_NUMBER: Final = re.compile(r"\d[\d,]*(?:\.\d+)?")


@dataclass(frozen=True)
class Catalogue:
    """What is said in one language."""

    locale: str
    reasons: Mapping[str, str]
    rules: Mapping[str, str]

    def of_reason(self, reason: str, metadata: Mapping[str, str]) -> str:
        """Return the message of an error; empty where there is none, or a variable of it is not known."""
        try:
            return self.reasons.get(reason, "").format_map(metadata)
        except KeyError:
            return ""

    def of_rule(self, rule: str, description: str) -> str:
        """Return what is wrong with a field; empty where there is nothing to say.

        ``description``: in English, as protovalidate has it; its numbers are the variables.
        """
        try:
            return self.rules.get(rule, "").format(*_NUMBER.findall(description))
        except IndexError:
            return ""


def wanted(metadata: Iterable[tuple[str, Any]] | None) -> Catalogue | None:
    """Return the catalogue of the language that a call asks for; None where it asks for none that there is."""
    for key, value in metadata or ():
        if key == HEADER:
            locale = best(value) if isinstance(value, str) else ""
            return catalogue(locale) if locale else None
    return None


def best(accepted: str) -> str:
    """Return the language that a header likes best of those that there are (RFC 9110, 12.5.4); empty: none of them."""
    likings = [_liking(part) for part in accepted[:MOST_CHARACTERS].split(",")]
    found: list[tuple[float, str]] = []
    for locale in LOCALES:
        # The most specific range that matches decides.
        matching = [(len(language), quality) for language, quality in likings if _matches(language, locale)]
        if matching and (quality := max(matching)[1]) > 0:
            found.append((quality, locale))
    return max(found, key=lambda each: each[0])[1] if found else ""


def _liking(part: str) -> tuple[str, float]:
    language, _, parameter = (each.strip().lower() for each in part.partition(";"))
    name, _, value = parameter.partition("=")
    try:
        return language, float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return language, 0.0


def _matches(language: str, locale: str) -> bool:
    """Say whether a range of languages means one: `pt` and `pt-PT` get `pt-BR`, the only Portuguese there is."""
    return language == "*" or (language != "" and _primary(language) == _primary(locale))


def _primary(language: str) -> str:
    return language.partition("-")[0].lower()


@cache
def catalogue(locale: str) -> Catalogue:
    """Return the catalogue of a language in ``LOCALES``."""
    text = files("chassis.contract").joinpath(f"catalogues/{locale}.toml").read_text(encoding="utf-8")
    read = tomllib.loads(text)
    return Catalogue(locale, read["reasons"], read["rules"])
