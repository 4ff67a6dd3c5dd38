"""Examples of the commands on preferences and categories."""

from __future__ import annotations

from typing import Final

from notifications_service.explain.example import Example, Values
from notifications_service.explain.explainer import Explainer
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.model import NO_ROW, Mode
from notifications_service.preferences.repository import PreferencesRepository


def _preferences(explainer: Explainer, values: Values) -> PreferencesRepository:
    return PreferencesRepository(explainer, values.clock)


def _categories(explainer: Explainer, values: Values) -> CategoriesRepository:
    return CategoriesRepository(explainer, values.clock)


_KEY: Final = ("email", "news")
# Of a state that a row may be in.
_ETAG: Final = '"1.1"'
_VALUES: Final = {"title": "News"}

PREFERENCES: Final = (
    Example("preferences.of_users", lambda e, v: _preferences(e, v).of_users([v.user_id, "another"])),
    Example("preferences.update", lambda e, v: _preferences(e, v).update(v.user_id, {"locale": "pt-BR"}, "")),
    Example("preferences.update", lambda e, v: _preferences(e, v).update(v.user_id, {"locale": None}, _ETAG), "etag"),
    Example("preferences.update", lambda e, v: _preferences(e, v).update(v.user_id, {}, NO_ROW), "etag of nothing"),
    Example("preferences.set_entry", lambda e, v: _preferences(e, v).set_entry(v.user_id, _KEY, Mode.OFF, 200)),
    Example("preferences.touch_nobody", lambda e, v: _preferences(e, v).touch_nobody(_KEY, Mode.OFF)),
    Example("preferences.remove_entry", lambda e, v: _preferences(e, v).remove_entry(v.user_id, _KEY)),
    Example("preferences.delete_of_user", lambda e, v: _preferences(e, v).delete_of_user(v.user_id)),
    Example("preferences.by_names", lambda e, v: _categories(e, v).by_names(["billing", "news"])),
    Example("preferences.page", lambda e, v: _categories(e, v).page("billing", 21, include_deleted=False)),
    Example("preferences.page", lambda e, v: _categories(e, v).page("", 21, include_deleted=True), "with deleted ones"),
    Example("preferences.put", lambda e, v: _categories(e, v).put("news", _VALUES, "")),
    Example("preferences.put", lambda e, v: _categories(e, v).put("news", _VALUES, _ETAG), "etag"),
    Example("preferences.delete", lambda e, v: _categories(e, v).delete("news", "")),
)
