"""The settings of the users service, beyond those that every server has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from chassis.keyring import Keyring
from chassis.settings import Milliseconds, Port, ServerSettings


class DatabaseSettings(ServerSettings):
    """Where MySQL is and how it is used; what ``migrate`` needs."""

    mysql_host: str
    mysql_port: Port = 3306
    mysql_user: str
    mysql_password: SecretStr
    mysql_database: str
    mysql_pool_max_connections: Annotated[int, Field(ge=4, le=1_000)] = 10
    mysql_pool_idle_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    # How long a call waits for a free connection before it is refused.
    mysql_pool_acquire_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    mysql_connect_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 5_000
    mysql_query_timeout_ms: Annotated[Milliseconds, Field(ge=100)] = 5_000
    # disabled: plain TCP. verify: TLS, with the server's certificate checked against mysql_tls_ca_file or the system's.
    mysql_tls: Literal["disabled", "verify"] = "disabled"
    mysql_tls_ca_file: str | None = None


class Settings(DatabaseSettings):
    """All settings of ``users-service serve``."""

    grpc_port: Port = 50051

    # `id:base64-of-32-bytes`, comma-separated; the first encrypts, all decrypt (docs/operations.md, key rotation).
    secret_keys: SecretStr

    # The notifications service; off: what is to be sent there waits in the outbox.
    notifications_address: str = "127.0.0.1:50052"
    # How often the outbox is searched for calls left by other processes, or due again.
    outbox_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 1_000

    # Argon2id parameters (OWASP: 19 MiB, 2 passes, 1 lane at least) and how many hashes run at once (0: cores).
    argon2_memory_kib: Annotated[int, Field(ge=19_456, le=1_048_576)] = 19_456
    argon2_passes: Annotated[int, Field(ge=2, le=20)] = 2
    argon2_threads: Annotated[int, Field(ge=0, le=64)] = 0
    # Hashes that may wait for a thread before further ones are refused.
    argon2_queue: Annotated[int, Field(ge=1, le=10_000)] = 256

    # Failed attempts allowed within the window, per account and per client address.
    attempts_window_ms: Annotated[Milliseconds, Field(ge=1_000)] = 900_000
    attempts_per_account: Annotated[int, Field(ge=1)] = 10
    attempts_per_address: Annotated[int, Field(ge=1)] = 100

    # How often expired rows are purged; 0: never by the server. Rows that ended are kept this long for audit.
    purge_interval_ms: Milliseconds = 3_600_000
    purge_keep_days: Annotated[int, Field(ge=0, le=3_650)] = 7

    @field_validator("secret_keys")
    @classmethod
    def _secret_keys_are_keys(cls, value: SecretStr) -> SecretStr:
        Keyring.parse(value.get_secret_value())
        return value

    @property
    def sends_notifications(self) -> bool:
        """Whether there is a notifications service to call."""
        return self.notifications_address != "off"
