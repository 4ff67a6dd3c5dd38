"""Settings of MongoDB: its address, and how it is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator

from chassis.settings import FeatureSettings, Milliseconds, StatementSettings
from notifications_service.mongodb.url import problem_of


class MongoDBSettings(StatementSettings):
    """Where MongoDB is and how it is used."""

    mongodb_url: SecretStr
    """Connection string, with the database's name as its path: `mongodb://localhost:27017/vibe_notifications`."""
    mongodb_connection_pool_size: Annotated[int, Field(ge=4, le=1_000)] = 10
    """Connections of one process to a server of MongoDB, of all kinds together."""
    mongodb_driver: Literal["pymongo", "motor"] = "pymongo"
    """`pymongo`: PyMongo's async API; `motor`: Motor."""
    mongodb_server_selection_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long a command such as `migrate` or `backup` looks for a primary."""
    mongodb_connect_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How long connecting may take."""
    mongodb_query_timeout_ms: Annotated[Milliseconds, Field(ge=100)] = 5_000
    """How long an operation may take, with looking for a primary and waiting for a free connection."""

    @field_validator("mongodb_url")
    @classmethod
    def _is_usable(cls, url: SecretStr) -> SecretStr:
        if problem := problem_of(url.get_secret_value()):
            raise ValueError(problem)
        return url


class SecondarySettings(FeatureSettings):
    """Which reads secondaries may answer, and when."""

    mongodb_read_preference_list: Literal["primary", "secondaryPreferred", "nearest"] = "primary"
    """Who answers `ListNotifications`; whoever it is shows what the primary would."""
    mongodb_read_preference_count: Literal["primary", "secondaryPreferred", "nearest"] = "primary"
    """Who answers `CountNotifications` and `GetNotificationStats`; the same holds."""
    mongodb_max_staleness_seconds: Annotated[int, Field(ge=90, le=86_400)] = 90
    """A secondary estimated to be further behind is not asked."""
    mongodb_secondary_timeout_ms: Annotated[Milliseconds, Field(ge=10)] = 500
    """How long a secondary may take, catching up included, before the primary is asked."""
