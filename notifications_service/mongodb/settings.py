"""Settings of MongoDB: its address, and how it is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from chassis.settings import FeatureSettings, Milliseconds, StatementSettings


class MongoDBSettings(StatementSettings):
    """Where MongoDB is and how it is used."""

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
