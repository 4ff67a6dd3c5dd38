"""Settings of email: the relay that takes mails, who they are from, and where their templates are."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from chassis.settings import FeatureSettings, Milliseconds, unreadable
from notifications_service.delivery.channels.addresses import is_address

_is_own_header = re.compile(r"[Xx]-[A-Za-z0-9-]{1,70}").fullmatch
_is_ascii_line = re.compile(r"[ -~]{1,500}").fullmatch
_is_locale = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*").fullmatch


class RelaySettings(FeatureSettings):
    """How the relay is reached, which takes mails by SMTP and hands them on."""

    smtp_host: str = ""
    """The relay that mails are handed to; none: nothing goes out by email."""
    smtp_port: Annotated[int, Field(ge=1, le=65_535)] = 587
    """Its port: 587 by STARTTLS, 465 where `SMTP_SECURITY` is `tls`."""
    smtp_user: str = ""
    """User to sign in as; none: nobody signs in."""
    smtp_password: SecretStr | None = None
    """The user's password."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """`starttls`: encrypted before anything is told, or nothing is; `tls`: from the first byte on; `none`: plain text,
    to a relay on this machine."""
    smtp_plain_text_anywhere: bool = False
    """With `SMTP_SECURITY=none`: also to a relay on another machine, for everybody between to read."""
    smtp_ca_file: Path | None = None
    """Authority to check the relay's certificate against; none: the system's."""
    smtp_connections: Annotated[int, Field(ge=1, le=200)] = 4
    """Connections of one process to the relay."""
    smtp_messages_per_connection: Annotated[int, Field(ge=1)] = 100
    """Mails after which a connection is replaced by a new one."""
    smtp_idle_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """A connection that lies idle for longer is closed."""
    smtp_connect_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 10_000
    """How long connecting may take, with the relay's greeting."""
    smtp_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 30_000
    """How long any other answer of the relay may take."""

    @field_validator("smtp_ca_file")
    @classmethod
    def _is_there(cls, path: Path | None) -> Path | None:
        if path is not None and (why := unreadable(path)):
            raise ValueError(why)
        return path

    @model_validator(mode="after")
    def _is_safe(self) -> RelaySettings:
        if bool(self.smtp_user) != (self.smtp_password is not None):
            raise ValueError("SMTP_USER and SMTP_PASSWORD go together: set both or neither")
        remote = self.smtp_host and not _is_this_machine(self.smtp_host)
        if self.smtp_security == "none" and remote and not self.smtp_plain_text_anywhere:
            raise ValueError("SMTP_SECURITY=none is for a relay on this machine (SMTP_PLAIN_TEXT_ANYWHERE: any)")
        return self


class MessageSettings(FeatureSettings):
    """Who mails are from, and what they look like."""

    email_from: str = ""
    """Address that mails are from; required with `SMTP_HOST`. Its domain is that of the Message-IDs."""
    email_from_name: str = ""
    """Name shown with it, and in the built-in templates."""
    email_envelope_from: str = ""
    """Address that bounces go to (RFC 5321, MAIL FROM); none: `EMAIL_FROM`."""
    email_reply_to: str = ""
    """Address that answers go to where a mail names none; none: `EMAIL_FROM`."""
    email_headers: dict[str, str] | None = None
    """Further headers of every mail, as a JSON object; names begin with `X-`, and `{delivery_id}` stands for the
    delivery's id. Some relays want to be told more; none: nothing is."""
    email_locale: str = "en"
    """Language of what templates say (BCP 47) where neither request nor user prefer another."""
    email_templates_dir: str = ""
    """Folder of templates that go before the built-in ones, read at the start; none: the built-in ones alone."""

    @field_validator("email_from", "email_envelope_from", "email_reply_to")
    @classmethod
    def _are_addresses(cls, address: str) -> str:
        if address and not is_address(address):
            raise ValueError("no email address of ASCII characters (the name goes into EMAIL_FROM_NAME)")
        return address

    @field_validator("email_from_name")
    @classmethod
    def _is_one_line(cls, name: str) -> str:
        if not (name.isprintable() and len(name) <= 255):
            raise ValueError("one line of at most 255 characters")
        return name

    @field_validator("email_headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, str] | None) -> dict[str, str] | None:
        for name, value in (headers or {}).items():
            if not (_is_own_header(name) and _is_ascii_line(value)):
                raise ValueError("names are X- and letters, digits and hyphens, values one line of ASCII characters")
        return headers

    @field_validator("email_locale")
    @classmethod
    def _is_a_locale(cls, locale: str) -> str:
        if not (_is_locale(locale) and len(locale) <= 35):
            raise ValueError("no language as BCP 47 writes them, for example pt-BR")
        return locale

    @field_validator("email_templates_dir")
    @classmethod
    def _is_a_folder(cls, folder: str) -> str:
        if folder and not Path(folder).is_dir():
            raise ValueError("there is no such folder")
        return folder


class EmailSettings(MessageSettings, RelaySettings):
    """All that email needs."""

    @model_validator(mode="after")
    def _has_a_sender(self) -> EmailSettings:
        if self.smtp_host and not self.email_from:
            raise ValueError("SMTP_HOST needs EMAIL_FROM")
        return self


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
