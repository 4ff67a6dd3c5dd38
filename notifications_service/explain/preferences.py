"""Examples of the commands on preferences and categories."""

from __future__ import annotations

from typing import Final

from notifications_service.explain.example import Example, Values
from notifications_service.explain.explainer import Explainer
from notifications_service.preferences.repository import CategoriesRepository, PreferencesRepository


def _preferences(explainer: Explainer, values: Values) -> PreferencesRepository:
    return PreferencesRepository(explainer, values.clock)


def _categories(explainer: Explainer, values: Values) -> CategoriesRepository:
    return CategoriesRepository(explainer, values.clock)


PREFERENCES: Final = (
    Example("preferences.of_users", lambda e, v: _preferences(e, v).of_users([v.user_id, "another"])),
    Example("preferences.delete_of_user", lambda e, v: _preferences(e, v).delete_of_user(v.user_id)),
    Example("preferences.by_names", lambda e, v: _categories(e, v).by_names(["billing", "news"])),
)
