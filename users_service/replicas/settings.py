"""Settings of read replicas: their addresses, and how far behind they may be."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from chassis.settings import Milliseconds
from users_service import endpoints
from users_service.endpoints import Endpoint
from users_service.mysql.settings import MySQLSettings


class ReplicaSettings(MySQLSettings):
    """The primary, its replicas, and how far behind these may be."""

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
    def _replicas_are_hosts(self) -> ReplicaSettings:
        try:
            endpoints.parse(self.mysql_replica_hosts, self.mysql_port)
        except ValueError as error:
            raise ValueError(f"MYSQL_REPLICA_HOSTS: {error}") from None
        return self

    @property
    def replica_endpoints(self) -> tuple[Endpoint, ...]:
        """Where the replicas are."""
        return endpoints.parse(self.mysql_replica_hosts, self.mysql_port)
