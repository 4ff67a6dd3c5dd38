"""Settings of verifications: where the links in mails lead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import field_validator

from chassis.settings import FeatureSettings
from users_service.verifications.model import Purpose

# Where a link carries its token.
PLACE: Final = "{token}"


class VerificationSettings(FeatureSettings):
    """Where the links lead that are sent with `send_code`."""

    verification_urls: str = ""
    """Pages that take the tokens of links, as `purpose=URL` with `{token}` in the URL, separated by spaces; a purpose
    without one has codes sent, and no links."""

    @field_validator("verification_urls")
    @classmethod
    def _are_urls(cls, text: str) -> str:
        urls_of(text)
        return text


def urls_of(text: str) -> Mapping[Purpose, str]:
    """Read `purpose=URL purpose=URL`; raises ValueError that names what is wrong."""
    urls: dict[Purpose, str] = {}
    for entry in text.split():
        name, _, url = entry.partition("=")
        if name not in set(Purpose):
            raise ValueError(f"{name!r} is not one of {', '.join(Purpose)}")
        if Purpose(name) in urls:
            raise ValueError(f"{name} has two URLs")
        if not url.startswith(("https://", "http://")) or PLACE not in url:
            raise ValueError(f"the URL of {name} must begin with https:// and hold {PLACE}")
        urls[Purpose(name)] = url
    return urls
