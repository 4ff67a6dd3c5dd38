"""The language of errors: the one that a call likes best, and none where it asks for none."""

from __future__ import annotations

import pytest

from chassis.contract.localization import LOCALES, best, catalogue, wanted


@pytest.mark.parametrize(
    ("accepted", "locale"),
    [
        ("en", "en"),
        ("pt-BR", "pt-BR"),
        ("pt-br", "pt-BR"),
        ("pt", "pt-BR"),
        ("pt-PT, en;q=0.5", "pt-BR"),
        ("en-GB,pt-BR;q=0.9", "en"),
        ("pt-BR;q=0.5, en;q=0.8", "en"),
        ("de, pt;q=0.3", "pt-BR"),
        ("*", "en"),
        ("en;q=0, *", "pt-BR"),
        ("de", ""),
        ("en;q=0", ""),
        ("en;q=hunter2", ""),
        ("", ""),
        (";;;,,,", ""),
        ("x" * 10_000, ""),
    ],
)
def test_the_language_is_the_one_liked_best(accepted: str, locale: str) -> None:
    """By quality, then by our order; a language without a region, or with another one, is served all the same."""
    assert best(accepted) == locale


def test_a_call_that_asks_for_no_language_gets_none() -> None:
    """Errors of programs stay as small as they are."""
    assert wanted(None) is None
    assert wanted([("x-request-id", "1"), ("user-agent", "grpc")]) is None
    assert wanted([("accept-language", "de")]) is None
    found = wanted([("accept-language", "pt-BR")])
    assert found is not None
    assert found.locale == "pt-BR"


def test_variables_are_filled_in() -> None:
    """Those of the metadata, and the numbers of a rule."""
    portuguese = catalogue("pt-BR")
    assert (
        portuguese.of_reason("PREFERENCES_FULL", {"limit": "200"}) == "Já existem 200 configurações. Remova uma antes."
    )
    assert portuguese.of_rule("STRING_MAX_LEN", "value length must be at most 254 characters") == (
        "deve ter no máximo 254 caracteres"
    )
    assert portuguese.of_rule(
        "INT32_GTE_LTE", "must be greater than or equal to 0 and less than or equal to 1,000"
    ) == ("deve ser de 0 a 1,000")


@pytest.mark.parametrize("locale", LOCALES)
def test_what_cannot_be_said_is_not_said(locale: str) -> None:
    """A variable that is missing never shows as a gap, and an unknown reason as nothing."""
    assert catalogue(locale).of_reason("PREFERENCES_FULL", {}) == ""
    assert catalogue(locale).of_reason("BRAND_NEW", {}) == ""
    assert catalogue(locale).of_rule("STRING_MAX_LEN", "is too long") == ""
    assert catalogue(locale).of_rule("BRAND_NEW", "is wrong") == ""
