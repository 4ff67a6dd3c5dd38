"""The settings of the plugin: environment variables, or options of pytest's configuration under the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Self

PREFIX: Final = "vibework_"


def _setting(what: str, default: str = "") -> Any:
    return field(default=default, metadata={"what": what})


@dataclass(frozen=True)
class Settings:
    """What is known of the pair that the tests are to have."""

    pair: str = _setting("Where the pair comes from: `running`, `local`, `containers`; empty: the first that is there.")

    users_address: str = _setting("`host:port` of a users service that runs.")
    notifications_address: str = _setting("`host:port` of a notifications service that runs.")
    tls_ca_file: str = _setting("Authority of the certificates of the services that run; empty: plain text.")
    tls_cert_file: str = _setting("Certificate to show to them.")
    tls_key_file: str = _setting("Its key.")
    token_file: str = _setting("Token to show to them.")
    mails: str = _setting("What they mail: the URL of a Mailpit, or a folder of `.eml` files.")

    mysql_url: str = _setting("`mysql://user:password@host:port`: a server in which local services get a new database.")
    mongodb_url: str = _setting("`mongodb://…`: a replica set in which local services get a new database.")

    image: str = _setting("Image of both services.", "vibework-services:local")
    mysql_image: str = _setting("Image of MySQL.", "mysql:8.4")
    mongodb_image: str = _setting("Image of MongoDB.", "mongo:6.0")
    mailpit_image: str = _setting("Image of Mailpit, which catches the mails of containers.", "axllent/mailpit:v1.33.1")

    @classmethod
    def read(cls, environment: Mapping[str, str], option: Callable[[str], str]) -> Self:
        """Read each from the environment, else as an option of pytest's configuration, else take its default."""
        found = {
            each.name: environment.get(variable(each.name)) or option(f"{PREFIX}{each.name}") for each in fields(cls)
        }
        return cls(**{name: value for name, value in found.items() if value})


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return f"{PREFIX}{name}".upper()


def described() -> list[tuple[str, str, str]]:
    """Return the name, the meaning and the default of every setting."""
    return [(each.name, each.metadata["what"], str(each.default)) for each in fields(Settings)]
