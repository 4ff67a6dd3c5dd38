"""Choosing among the languages there are by those that are wanted (BCP 47; RFC 4647, lookup)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator


def chosen(wanted: Iterable[str], there: Collection[str]) -> str | None:
    """Return the language, of those there, that fits the first of the wanted ones that any fits; None where none does.

    `pt-BR` fits `pt-BR`, then `pt`, then any other Portuguese. Upper and lower case are alike.
    """
    known = {language.lower(): language for language in sorted(there)}
    for language in wanted:
        for candidate in _candidates(language.lower(), known):
            return known[candidate]
    return None


def _candidates(wanted: str, known: Collection[str]) -> Iterator[str]:
    parts = wanted.split("-")
    shorter = ("-".join(parts[:length]) for length in range(len(parts), 0, -1))
    yield from (language for language in shorter if language in known)
    yield from (language for language in known if language.split("-")[0] == parts[0])
