"""Settings of Web Push: the server's keys, and how it names itself to push services."""

from __future__ import annotations

from pydantic import SecretStr, field_validator, model_validator

from chassis.settings import FeatureSettings
from notifications_service.push_subscriptions.endpoints import EndpointRules
from notifications_service.push_subscriptions.keys import PushKeys


class PushSettings(FeatureSettings):
    """With which keys messages are signed, and in whose name."""

    web_push_keys: SecretStr | None = None
    """`name:base64url-of-32-bytes`, comma-separated: keys of Web Push (VAPID); browsers subscribe with the first, all
    sign. None: there is no push."""
    web_push_subject: str = ""
    """How operators of push services reach whoever runs this: `mailto:…` or `https://…`; required with
    `WEB_PUSH_KEYS`."""
    web_push_keys_given_up: str = ""
    """Names of keys, comma-separated, that are gone for good although subscriptions were made with them; messages to
    those fail. A key that is neither here nor in `WEB_PUSH_KEYS` stops the start."""
    web_push_allow_loopback: bool = False
    """For tests alone: push services may be on this machine. Where it is set, whoever may register a subscription may
    send requests to what listens on the machine's loopback addresses."""

    @field_validator("web_push_keys")
    @classmethod
    def _are_push_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            PushKeys.parse(keys.get_secret_value())
        return keys

    @model_validator(mode="after")
    def _push_is_whole(self) -> PushSettings:
        if self.push_keys.by_id and not self.web_push_subject.startswith(("mailto:", "https://")):
            raise ValueError("WEB_PUSH_SUBJECT: must begin with mailto: or https:// where WEB_PUSH_KEYS is set")
        return self

    @property
    def push_keys(self) -> PushKeys:
        """The ring of keys; empty where there is no push."""
        return PushKeys.parse("" if self.web_push_keys is None else self.web_push_keys.get_secret_value())

    @property
    def push_keys_given_up(self) -> frozenset[str]:
        """The ids of keys that are known to be gone."""
        return frozenset(filter(None, (name.strip() for name in self.web_push_keys_given_up.split(","))))

    @property
    def endpoint_rules(self) -> EndpointRules:
        """Which endpoints are called."""
        return EndpointRules(allow_loopback=self.web_push_allow_loopback)
