"""Puts PreferenceService together; for the composition root."""

from __future__ import annotations

from typing import Final

from vibework.notifications.v1.preference_service_pb2_grpc import add_PreferenceServiceServicer_to_server

from chassis.contract.keyset import Pages
from chassis.contract.pagetokens import PageTokens
from chassis.keyring import Keyring
from chassis.serving.registration import Registration, partly_built
from notifications_service.preferences.categories import CategoriesRepository
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.preferences.service import CategoryService, PreferenceService, UserCheck
from notifications_service.preferences.servicer import PreferenceServicer
from notifications_service.preferences.settings import UnsubscribeSettings
from notifications_service.preferences.unsubscribe import tokens_of

_NO_TIME: Final = 0


def assemble(
    settings: UnsubscribeSettings,
    preferences: PreferencesRepository,
    categories: CategoriesRepository,
    recipients: UserCheck,
    *,
    keyring: Keyring,
) -> Registration:
    """Return PreferenceService with its registration."""
    make = partly_built(PreferenceServicer)
    service = PreferenceService(preferences, categories, recipients, tokens_of(settings))
    servicer = make(service, CategoryService(categories), pages_of_categories(PageTokens(keyring)))
    return add_PreferenceServiceServicer_to_server, servicer


def pages_of_categories(tokens: PageTokens) -> Pages[str]:
    """Return the pages of ListCategories, whose rows have a name and no time."""
    return Pages(tokens, lambda name: (_NO_TIME, name), _name)


def _name(time: int, name: str) -> str:
    if time != _NO_TIME:
        raise ValueError("a category has no time in a list")
    return name
