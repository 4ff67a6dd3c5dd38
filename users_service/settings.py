"""The settings of the users service, beyond those that every server has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from chassis.keyring import Keyring
from chassis.settings import Milliseconds, Port, ServerSettings
from users_service import endpoints
from users_service.endpoints import Endpoint
from users_service.passwords.cores import MOST


class DatabaseSettings(ServerSettings):
    """Where MySQL is and how it is used; what ``migrate`` needs."""

    mysql_host: str
    """Host of the MySQL server."""
    mysql_port: Port = 3306
    """Its port."""
    mysql_user: str
    """User to connect as."""
    mysql_password: SecretStr
    """Its password."""
    mysql_database: str
    """Database to use."""
    mysql_pool_max_connections: Annotated[int, Field(ge=4, le=1_000)] = 10
    """Connections of one process, of all kinds together."""
    mysql_pool_idle_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """A connection that lay idle for longer is replaced."""
    mysql_pool_acquire_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long a call waits for a free connection before it is refused."""
    mysql_connect_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 5_000
    """How long connecting may take."""
    mysql_query_timeout_ms: Annotated[Milliseconds, Field(ge=100)] = 5_000
    """How long a statement or transaction may take."""
    mysql_tls: Literal["disabled", "verify"] = "disabled"
    """`verify`: TLS, with the server's certificate checked."""
    mysql_tls_ca_file: str | None = None
    """Authority to check it against; none: the system's."""

    mysql_replica_hosts: str = ""
    """`host[:port]`, comma-separated: replicas that answer lists and counts, each as the primary would; none: the
    primary answers all."""
    mysql_replica_pool_max_connections: Annotated[int, Field(ge=2, le=1_000)] = 6
    """Connections of one process to each replica; one of them only asks how far it is."""
    mysql_replica_max_lag_ms: Annotated[Milliseconds, Field(ge=100)] = 1_000
    """A replica further behind the primary is not asked."""
    mysql_replica_wait_ms: Annotated[Milliseconds, Field(le=5_000)] = 50
    """How long a call waits for a replica that is behind before it asks the primary."""
    mysql_replica_timeout_ms: Annotated[Milliseconds, Field(ge=10)] = 500
    """A replica that is silent for so long is out of use, and the primary answers what it was asked."""

    @model_validator(mode="after")
    def _replicas_are_hosts(self) -> DatabaseSettings:
        try:
            endpoints.parse(self.mysql_replica_hosts, self.mysql_port)
        except ValueError as error:
            raise ValueError(f"MYSQL_REPLICA_HOSTS: {error}") from None
        return self

    @property
    def replica_endpoints(self) -> tuple[Endpoint, ...]:
        """Where the replicas are."""
        return endpoints.parse(self.mysql_replica_hosts, self.mysql_port)


class Settings(DatabaseSettings):
    """All settings of ``users-service serve``."""

    grpc_port: Port = 50051
    """Port to listen on; 0: any free one."""
    metrics_port: Port = 9464
    """Port on which metrics are read; 0: none is open."""

    secret_keys: SecretStr
    """`name:base64-of-32-bytes`, comma-separated; the first encrypts, all decrypt."""

    notifications_address: str = "127.0.0.1:50052"
    """The notifications service; `off`: what is to be sent there waits in the outbox."""
    outbox_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 1_000
    """How often the outbox is searched for calls left by other processes, or due again."""

    argon2_memory_kib: Annotated[int, Field(ge=19_456, le=1_048_576)] = 19_456
    """Argon2id memory of one hash (OWASP: 19 MiB at least)."""
    argon2_passes: Annotated[int, Field(ge=2, le=20)] = 2
    """Argon2id passes (OWASP: 2 at least)."""
    argon2_threads: Annotated[int, Field(ge=0, le=MOST)] = 0
    """Hashes computed at once, each in a process of its own; 0: one per core."""
    argon2_queue: Annotated[int, Field(ge=1, le=10_000)] = 256
    """Hashes that may wait before further ones are refused."""

    attempts_window_ms: Annotated[Milliseconds, Field(ge=1_000)] = 900_000
    """Window in which attempts are counted."""
    attempts_per_account: Annotated[int, Field(ge=1)] = 10
    """Attempts allowed in it per account."""
    attempts_per_address: Annotated[int, Field(ge=1)] = 100
    """Attempts allowed in it per client address."""

    purge_interval_ms: Milliseconds = 3_600_000
    """How often the server purges; 0: never."""
    purge_keep_days: Annotated[int, Field(ge=0, le=3_650)] = 7
    """How long it keeps what has ended, for audit."""

    @field_validator("secret_keys")
    @classmethod
    def _secret_keys_are_keys(cls, value: SecretStr) -> SecretStr:
        Keyring.parse(value.get_secret_value())
        return value

    @property
    def sends_notifications(self) -> bool:
        """Whether there is a notifications service to call."""
        return self.notifications_address != "off"
