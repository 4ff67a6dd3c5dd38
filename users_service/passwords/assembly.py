"""Puts password hashing together; for the composition root."""

from __future__ import annotations

from chassis.serving.lifecycle import Scope
from chassis.telemetry.registry import Registry
from users_service.passwords import metrics
from users_service.passwords.common import common_passwords
from users_service.passwords.hasher import Passwords
from users_service.passwords.settings import PasswordSettings


def open_passwords(settings: PasswordSettings, scope: Scope, registry: Registry) -> Passwords:
    """Make the hasher, with the list of common passwords if they are refused; its processes end with ``scope``."""
    passwords = Passwords.of(settings, common_passwords() if settings.common_passwords == "refuse" else None)
    scope.resources.callback(passwords.close)
    metrics.of_passwords(registry, passwords)
    return passwords
