"""Settings of MySQL: its address, and how it is used."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from chassis.settings import Milliseconds, Port, StatementSettings


class MySQLSettings(StatementSettings):
    """Where MySQL is and how it is used."""

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
