"""Settings of unsubscribing: the link of a mail, and the keys of its token."""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr, field_validator, model_validator

from chassis.keyring import Keyring
from chassis.settings import FeatureSettings

# Of the token in a link.
PLACE: Final = "{token}"


class UnsubscribeSettings(FeatureSettings):
    """Where a mail's unsubscribe link leads, and the keys under which its tokens are made."""

    unsubscribe_url: str = ""
    """Where mails are unsubscribed from with one click (RFC 8058): an `https` URL of yours with `{token}` in it, which
    calls `Unsubscribe` when it is posted to; none: mails have no such link."""
    unsubscribe_keys: SecretStr | None = None
    """`name:base64-of-32-bytes`, comma-separated; the first makes the tokens of unsubscribe links, all are accepted.
    Old ones stay for good, so that old mails can be unsubscribed from: that is all they open."""

    @field_validator("unsubscribe_url")
    @classmethod
    def _is_a_link(cls, url: str) -> str:
        if url and not (url.startswith("https://") and url.count(PLACE) == 1 and url.isascii() and _is_one_word(url)):
            raise ValueError("must be an https URL, in ASCII, with {token} once")
        return url

    @field_validator("unsubscribe_keys")
    @classmethod
    def _are_keys_of_links(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            Keyring.parse(keys.get_secret_value())
        return keys

    @model_validator(mode="after")
    def _have_keys(self) -> UnsubscribeSettings:
        if self.unsubscribe_url and self.unsubscribe_keys is None:
            raise ValueError("UNSUBSCRIBE_URL needs UNSUBSCRIBE_KEYS")
        return self


def _is_one_word(url: str) -> bool:
    # In a header it stands in angle brackets, beside others after a comma.
    rest = url.replace(PLACE, "")
    return rest.isprintable() and not set(rest) & set(" <>,{}\"'\\")
