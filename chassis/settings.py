"""Settings shared by both servers, and reading them from the environment once, at the start."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Final, Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

EXIT_BAD_SETTING = 2


class WrongSetting(Exception):
    """A setting is wrong in a way that shows only where it is used; the text is one line, ``VARIABLE: rule``."""


Milliseconds = Annotated[int, Field(ge=0, le=86_400_000)]
Port = Annotated[int, Field(ge=0, le=65_535)]


class FeatureSettings(BaseSettings):
    """The settings of one feature; the environment variable is the field name in capitals.

    A feature takes its own class; a server's settings inherit those of all its features. Pydantic lists the fields of
    the last base first.
    """

    model_config = SettingsConfigDict(
        case_sensitive=False, extra="ignore", frozen=True, env_ignore_empty=True, use_attribute_docstrings=True
    )


class ListeningSettings(FeatureSettings):
    """Where a server listens, and how much it takes on at once."""

    grpc_transport: Literal["grpcio", "native"] = "grpcio"
    """What carries calls ([transports](docs/transports.md)); `native`, in Rust, is an extra of the package."""
    grpc_host: str = "127.0.0.1"
    """Address to listen on; `::`: all, of IPv4 and of IPv6."""
    allow_plaintext: bool = False
    """Without TLS, listen on other addresses than loopback, too: where a mesh or a network of its own encrypts."""
    grpc_port: Port = 0
    """Port to listen on; 0: any free one."""
    grpc_so_reuseport: bool = False
    """Share the port with other processes of the same service."""
    grpc_max_in_flight: Annotated[int, Field(ge=1)] = 1_000
    """Unary calls served at once; further ones are refused with `OVERLOADED`."""
    grpc_max_streams: Annotated[int, Field(ge=1)] = 10_000
    """Streams served at once."""
    grpc_max_deadline_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """Longest time a unary call may take, and the message of a stream may be waited for, whatever its own deadline."""
    grpc_drain_ms: Milliseconds = 2_000
    """After SIGTERM: how long balancers get to see NOT_SERVING."""
    grpc_grace_ms: Milliseconds = 10_000
    """After that: how long calls in flight get to finish."""
    grpc_max_connection_age_ms: Milliseconds = 0
    """Age at which a connection is closed, so that clients balance anew; 0: never."""
    grpc_max_connection_age_grace_ms: Milliseconds = 30_000
    """How long calls on such a connection get to finish."""
    grpc_max_connection_idle_ms: Milliseconds = 120_000
    """How long a connection may be without calls and watches of health before it is closed; 0: for ever."""
    grpc_max_calls_per_connection: Annotated[int, Field(ge=2, le=2**31 - 1)] = 2_000
    """Calls and streams open at once on one connection; further ones wait at the caller."""
    grpc_max_message_bytes: Annotated[int, Field(ge=1024, le=1 << 30)] = 4 * 1024 * 1024
    """Largest request or response."""
    grpc_keepalive_ms: Annotated[Milliseconds, Field(ge=1_000)] = 30_000
    """How often an idle connection is pinged."""
    grpc_keepalive_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 10_000
    """How long a ping may stay unanswered."""


class HealthSettings(FeatureSettings):
    """How the database is probed, and what follows."""

    health_interval_ms: Annotated[Milliseconds, Field(ge=1)] = 2_000
    """How often the database is probed."""
    health_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 1_000
    """How long a probe may take."""
    health_deaf_ms: Milliseconds = 60_000
    """A process ends itself (exit code 3) when for so long its probes fail while the database answers new connections,
    or its event loop does not turn; 0: never."""


class MetricsSettings(FeatureSettings):
    """Where metrics are read."""

    metrics_host: str = "127.0.0.1"
    """Address on which metrics and health are read over HTTP (`/metrics`, `/livez`, `/readyz`); `::`: all; `fd:N`: a
    listening socket of the parent process."""
    metrics_port: Port = 0
    """Its port; 0: none is open."""


class StatementSettings(FeatureSettings):
    """Which statements are logged."""

    slow_query_ms: Milliseconds = 200
    """Statements that take this long are logged, with their names and the sizes of their parameters; 0: none is."""


class LogSettings(FeatureSettings):
    """What is logged, and how."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto`: readable on a terminal, JSON elsewhere."""


class TLSSettings(FeatureSettings):
    """Certificates: of the server, of its callers, and of the other service."""

    tls_cert_file: Path | None = None
    """Certificate chain of the server (PEM); none: plain text."""
    tls_key_file: Path | None = None
    """Its private key (PEM)."""
    tls_client_ca_file: Path | None = None
    """Callers must present a certificate signed by this authority (mutual TLS)."""
    probe_tls_cert_file: Path | None = None
    """What `python -m chassis.probe` shows where callers must present one; none: `TLS_CERT_FILE`."""
    probe_tls_key_file: Path | None = None
    """Its private key (PEM)."""
    peer_tls_ca_file: Path | None = None
    """Call the other service over TLS, its certificate checked against this authority; ours is shown if set."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> TLSSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE go together: set both or neither")
        if (self.probe_tls_cert_file is None) != (self.probe_tls_key_file is None):
            raise ValueError("PROBE_TLS_CERT_FILE and PROBE_TLS_KEY_FILE go together: set both or neither")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("TLS_CLIENT_CA_FILE needs TLS_CERT_FILE and TLS_KEY_FILE")
        return self


# The algorithms that tokens may be signed by: all of them asymmetric.
TOKEN_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


class AccessSettings(FeatureSettings):
    """Who may call, and how callers prove who they are."""

    access_policy_file: Path | None = None
    """Who may call what, and how often ([access](docs/access.md)); none: whoever can connect may call everything."""
    jwt_issuer: str = ""
    """Take signed tokens (JWT) of this issuer (`iss`), which name their callers; none: no tokens."""
    jwt_audience: str = ""
    """What tokens must be for (`aud`)."""
    jwt_algorithms: str = "RS256,PS256,ES256,EdDSA"
    """Algorithms that tokens may be signed by, comma-separated."""
    jwks_file: Path | None = None
    """Public keys of the issuer (a JSON Web Key Set); read again when it changes."""
    jwks_url: str = ""
    """Or the address of its keys (https), asked every 5 minutes."""
    jwks_ca_file: Path | None = None
    """The authority that `JWKS_URL` is checked against; none: those of the system."""
    jwks_token_file: Path | None = None
    """A bearer token to show at `JWKS_URL`, as Kubernetes asks for; read each time."""
    peer_token_file: Path | None = None
    """A token to show at the other service; read again when it changes."""

    @property
    def takes_tokens(self) -> bool:
        """Whether callers may prove by a token who they are."""
        return bool(self.jwt_issuer)

    @field_validator("jwt_algorithms")
    @classmethod
    def _algorithms_are_asymmetric(cls, value: str) -> str:
        if wrong := [name for name in value.split(",") if name.strip() not in TOKEN_ALGORITHMS]:
            raise ValueError(f"{wrong[0]!r} is none of {', '.join(TOKEN_ALGORITHMS)}")
        return value

    @field_validator("jwks_url")
    @classmethod
    def _address_is_https(cls, value: str) -> str:
        if value and not value.startswith("https://"):
            raise ValueError("an address that begins with https://")
        return value

    @model_validator(mode="after")
    def _tokens_are_whole(self) -> AccessSettings:
        sources = (self.jwks_file is not None) + bool(self.jwks_url)
        if not self.takes_tokens == bool(self.jwt_audience) == bool(sources) or sources > 1:
            raise ValueError("JWT_ISSUER, JWT_AUDIENCE, and one of JWKS_FILE and JWKS_URL go together")
        if (self.jwks_ca_file or self.jwks_token_file) and not self.jwks_url:
            raise ValueError("JWKS_CA_FILE and JWKS_TOKEN_FILE are for JWKS_URL")
        return self


class AuditSettings(FeatureSettings):
    """Whether it is written down who did what to whom."""

    audit_log: Literal["off", "stdout", "file"] = "off"
    """Where a line goes for every call that changes something or discloses a secret ([access](docs/access.md#audit));
    `stdout`: beside the log."""
    audit_log_file: Path | None = None
    """The file for `AUDIT_LOG=file`; lines are added at its end."""

    @model_validator(mode="after")
    def _file_is_named(self) -> AuditSettings:
        if (self.audit_log == "file") != (self.audit_log_file is not None):
            raise ValueError("AUDIT_LOG=file and AUDIT_LOG_FILE go together")
        return self


class ServerSettings(
    AuditSettings,
    AccessSettings,
    TLSSettings,
    LogSettings,
    StatementSettings,
    MetricsSettings,
    HealthSettings,
    ListeningSettings,
):
    """What every server of the pair reads."""

    reflection_enabled: bool = True
    """Whether grpcurl and others may ask for the contract; with a policy, those to whom it grants `reflection`."""
    core_dumps: bool = False
    """Whether a process that crashes leaves a core, in which secrets are, where the system makes one."""

    @model_validator(mode="after")
    def _callers_can_be_known(self) -> ServerSettings:
        if self.access_policy_file is not None and self.tls_client_ca_file is None and not self.takes_tokens:
            rule = "a policy needs TLS_CLIENT_CA_FILE or JWT_ISSUER: nothing else says who calls"
            raise ValueError(f"ACCESS_POLICY_FILE: {rule}")
        return self


S = TypeVar("S", bound=BaseSettings)


def load(settings_class: type[S]) -> S:
    """Read the settings from the environment, or end the process.

    What is not there is looked for in the folder SECRETS_DIR, if that is set: one file per setting, named like its
    variable in small letters (``mysql_password``), as Docker and Kubernetes mount secrets.

    A missing or wrong variable prints one line that names it and its rule, never its value (it may
    be a secret), to stderr; the exit code is 2.
    """
    try:
        return settings_class(_secrets_dir=_secrets_folder())
    except ValidationError as error:
        _exit_naming(error.errors(include_url=False, include_context=False, include_input=False))


def unreadable(path: str | Path) -> str:
    """Return why a file that a setting names cannot be read, without naming it; empty where it can."""
    try:
        with Path(path).open("rb"):
            return ""
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"


def _secrets_folder() -> Path | None:
    name = os.environ.get("SECRETS_DIR")
    if name and not Path(name).is_dir():
        sys.stderr.write("wrong setting: SECRETS_DIR: there is no such folder\n")
        raise SystemExit(EXIT_BAD_SETTING)
    return Path(name) if name else None


def _exit_naming(problems: list[ErrorDetails]) -> NoReturn:
    line = "; ".join(describe(problem) for problem in problems)
    sys.stderr.write(f"wrong setting: {line}\n")
    raise SystemExit(EXIT_BAD_SETTING)


def describe(problem: ErrorDetails) -> str:
    """Say in one line which environment variable is wrong and which rule it breaks."""
    variable = ".".join(str(part) for part in problem["loc"]).upper()
    if problem["type"] == "missing":
        return f"{variable} is missing"
    rule = problem["msg"].removeprefix("Value error, ").replace("\n", " ")
    return f"{variable}: {rule}" if variable else rule
