"""Which language a reader gets, of those there are."""

from __future__ import annotations

import pytest

from notifications_service.delivery.channels.languages import chosen

THERE = ("en", "pt-BR", "zh-Hant")


@pytest.mark.parametrize(
    ("wanted", "language"),
    [
        (["pt-BR"], "pt-BR"),
        (["PT-br"], "pt-BR"),
        (["pt"], "pt-BR"),
        (["pt-PT"], "pt-BR"),
        (["en-GB-oxendict"], "en"),
        (["zh-Hant-TW"], "zh-Hant"),
        (["fr", "pt"], "pt-BR"),
        (["fr"], None),
        (["e"], None),
        ([], None),
    ],
)
def test_the_first_wanted_language_that_is_there_in_any_form_is_chosen(wanted: list[str], language: str | None) -> None:
    """Whoever reads Portuguese of Portugal reads Portuguese of Brazil rather than English."""
    assert chosen(wanted, THERE) == language
