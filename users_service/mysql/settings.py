"""Settings of MySQL: its address, and how it is used."""

from __future__ import annotations

import ssl
from typing import Annotated, Literal

from pydantic import Field, SecretStr, model_validator

from chassis.settings import Milliseconds, Port, StatementSettings, unreadable


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
    """A connection that lies idle for longer is closed."""
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

    @model_validator(mode="after")
    def _authority_is_one(self) -> MySQLSettings:
        if self.mysql_tls == "disabled" or self.mysql_tls_ca_file is None:
            return self
        if why := unreadable(self.mysql_tls_ca_file):
            raise ValueError(f"MYSQL_TLS_CA_FILE: {why}")
        try:
            ssl.create_default_context(cafile=self.mysql_tls_ca_file)
        except ssl.SSLError:
            raise ValueError("MYSQL_TLS_CA_FILE: there is no certificate (PEM) in the file") from None
        return self
