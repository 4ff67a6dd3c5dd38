"""The settings of the notifications service, beyond those that every server has."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from chassis.keyring import Keyring
from chassis.settings import Milliseconds, Port, ServerSettings


class DatabaseSettings(ServerSettings):
    """Where MongoDB is and how it is used; what ``migrate`` and ``purge`` need."""

    mongodb_url: SecretStr
    """Connection string, with the database's name as its path: `mongodb://localhost:27017/vibe_notifications`."""
    mongodb_connection_pool_size: Annotated[int, Field(ge=1, le=1_000)] = 10
    """Connections of one process."""
    mongodb_driver: Literal["pymongo", "motor"] = "pymongo"
    """`pymongo`: PyMongo's async API; `motor`: Motor."""
    mongodb_server_selection_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long a command such as `migrate` or `backup` looks for a primary."""
    mongodb_connect_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long connecting may take."""
    mongodb_query_timeout_ms: Annotated[Milliseconds, Field(ge=100)] = 5_000
    """How long an operation may take, with looking for a primary and waiting for a free connection."""

    notifications_retention_days: Annotated[int, Field(ge=1, le=3_650)] = 30
    """How long a notification is kept; applied by `migrate up`, which keeps what a database has where this is not set;
    read from the database by `serve`."""

    @field_validator("mongodb_url")
    @classmethod
    def _names_a_database(cls, url: SecretStr) -> SecretStr:
        try:
            name = parse_uri(url.get_secret_value(), validate=False)["database"]
        except (PyMongoError, ValueError):
            # The driver's own text may repeat the URL, and with it the password.
            raise ValueError("not a MongoDB connection string") from None
        if not name:
            raise ValueError("the connection string names no database (…/vibe_notifications)")
        return url


class Settings(DatabaseSettings):
    """All settings of ``notifications-service serve``."""

    grpc_port: Port = 50052
    """Port to listen on; 0: any free one."""
    metrics_port: Port = 9465
    """Port on which metrics are read; 0: none is open."""

    secret_keys: SecretStr
    """`name:base64-of-32-bytes`, comma-separated; the first signs page and resume tokens, all are accepted."""

    mongodb_read_preference_list: Literal["primary", "secondaryPreferred", "nearest"] = "primary"
    """Who answers `ListNotifications`; whoever it is shows what the primary would."""
    mongodb_read_preference_count: Literal["primary", "secondaryPreferred", "nearest"] = "primary"
    """Who answers `CountNotifications` and `GetNotificationStats`; the same holds."""
    mongodb_max_staleness_seconds: Annotated[int, Field(ge=90, le=86_400)] = 90
    """A secondary estimated to be further behind is not asked."""
    mongodb_secondary_timeout_ms: Annotated[Milliseconds, Field(ge=10)] = 500
    """How long a secondary may take, catching up included, before the primary is asked."""

    users_address: str = "127.0.0.1:50051"
    """The users service, which says whether a recipient exists."""
    recipient_check: Literal["required", "accept-when-unavailable", "off"] = "required"
    """`required`: unknown recipients are refused; `accept-when-unavailable`: but not while the users service cannot be
    asked; `off`: all are accepted."""
    recipient_check_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 1_000
    """How long asking may take."""
    recipient_known_ms: Milliseconds = 60_000
    """How long a yes is believed."""
    recipient_unknown_ms: Milliseconds = 2_000
    """How long a no is believed."""

    watch_max_watchers: Annotated[int, Field(ge=1)] = 5_000
    """Watchers of one process."""
    watch_queue_events: Annotated[int, Field(ge=1)] = 256
    """Events that wait for one watcher in memory."""
    watch_patience_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long a watcher whose queue ran over may go on without being up to date."""
    watch_max_catch_ups: Annotated[int, Field(ge=1, le=100)] = 4
    """Histories read at once for watchers that resume."""
    watch_outage_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """How long the database may be away before watchers are told to try elsewhere."""

    @field_validator("secret_keys")
    @classmethod
    def _are_keys(cls, keys: SecretStr) -> SecretStr:
        Keyring.parse(keys.get_secret_value())
        return keys
