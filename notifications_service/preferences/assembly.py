"""Puts PreferenceService together; for the composition root."""

from __future__ import annotations

from vibework.notifications.v1.preference_service_pb2_grpc import add_PreferenceServiceServicer_to_server

from chassis.serving.registration import Registration, partly_built
from notifications_service.preferences.repository import PreferencesRepository
from notifications_service.preferences.service import PreferenceService
from notifications_service.preferences.servicer import PreferenceServicer


def assemble(preferences: PreferencesRepository) -> Registration:
    """Return PreferenceService with its registration."""
    make = partly_built(PreferenceServicer)
    return add_PreferenceServiceServicer_to_server, make(PreferenceService(preferences))
