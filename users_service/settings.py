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
from users_service.watch.settings import WatchSettings


class DatabaseSettings(ReplicaSettings, ServerSettings):
    """Where the databases are and how they are used; what ``migrate`` needs."""


class MigrationSettings(DatabaseSettings):
    """The settings of ``migrate``: keys are needed only where another system's tables are adopted."""

    secret_keys: SecretStr | None = None
    """As for `serve`: provider tokens that are adopted are encrypted under them."""

    @property
    def keyring(self) -> Keyring | None:
        """The keys, where there are some."""
        return None if self.secret_keys is None else Keyring.parse(self.secret_keys.get_secret_value())

    @field_validator("secret_keys")
    @classmethod
    def _secret_keys_are_keys(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            Keyring.parse(value.get_secret_value())
        return value


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
    WatchSettings,
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
