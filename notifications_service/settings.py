"""The settings of the notifications service: those of its features, and of every server."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from chassis.keyring import Keyring
from chassis.settings import FeatureSettings, Port, ServerSettings
from notifications_service.delivery.settings import SendingSettings
from notifications_service.mongodb.settings import MongoDBSettings, SecondarySettings
from notifications_service.notification.settings import RetentionSettings
from notifications_service.push_subscriptions.settings import PushSettings
from notifications_service.recipients.settings import RecipientSettings
from notifications_service.scheduled.settings import ScheduleSettings
from notifications_service.watch.settings import WatchSettings


class DatabaseSettings(RetentionSettings, MongoDBSettings, ServerSettings):
    """Where MongoDB is and how it is used; what ``migrate`` and ``purge`` need."""


class KeySettings(FeatureSettings):
    """The keys of everything that is signed."""

    secret_keys: SecretStr
    """`name:base64-of-32-bytes`, comma-separated; the first signs page and resume tokens, all are accepted."""

    @field_validator("secret_keys")
    @classmethod
    def _are_keys(cls, keys: SecretStr) -> SecretStr:
        Keyring.parse(keys.get_secret_value())
        return keys


class Settings(
    SendingSettings,
    PushSettings,
    ScheduleSettings,
    WatchSettings,
    RecipientSettings,
    SecondarySettings,
    KeySettings,
    DatabaseSettings,
):
    """All settings of ``notifications-service serve``."""

    grpc_port: Port = 50052
    """Port to listen on; 0: any free one."""
    metrics_port: Port = 9465
    """Port on which metrics are read; 0: none is open."""


class DeliverSettings(Settings):
    """All settings of ``notifications-service deliver``, which serves health and metrics alone."""

    grpc_port: Port = 50053
    """Port to listen on; 0: any free one."""
    metrics_port: Port = 9466
    """Port on which metrics are read; 0: none is open."""
