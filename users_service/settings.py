"""The settings of the users service: those of its features, and of every server."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from chassis.keyring import Keyring
from chassis.settings import FeatureSettings, Port, ServerSettings
from users_service.attempts.settings import AttemptSettings
from users_service.outbox.settings import OutboxSettings
from users_service.passwords.settings import PasswordSettings
from users_service.purge.settings import PurgeSettings
from users_service.replicas.settings import ReplicaSettings
from users_service.verifications.settings import VerificationSettings


class DatabaseSettings(ReplicaSettings, ServerSettings):
    """Where the databases are and how they are used; what ``migrate`` needs."""


class KeySettings(FeatureSettings):
    """The keys of everything that is encrypted or signed."""

    secret_keys: SecretStr
    """`name:base64-of-32-bytes`, comma-separated; the first encrypts, all decrypt."""

    @field_validator("secret_keys")
    @classmethod
    def _secret_keys_are_keys(cls, value: SecretStr) -> SecretStr:
        Keyring.parse(value.get_secret_value())
        return value


class Settings(
    VerificationSettings,
    PurgeSettings,
    AttemptSettings,
    PasswordSettings,
    OutboxSettings,
    KeySettings,
    DatabaseSettings,
):
    """All settings of ``users-service serve``."""

    grpc_port: Port = 50051
    """Port to listen on; 0: any free one."""
    metrics_port: Port = 9464
    """Port on which metrics are read; 0: none is open."""
