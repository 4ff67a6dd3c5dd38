"""Settings of the outbox: where its calls go, and how soon."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from chassis.settings import Milliseconds, ServerSettings
from users_service.outbox.model import Notice


class OutboxSettings(ServerSettings):
    """Where calls left in the outbox go, and how soon; how the other service is called is a server's setting."""

    notifications_address: str = "127.0.0.1:50052"
    """The notifications service; `off`: what is to be sent there waits in the outbox."""
    outbox_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 1_000
    """How often the outbox is searched for calls left by other processes, or due again."""

    notices: str = ""
    """Mails to users about their accounts, comma-separated: `welcome`, `password_changed`, `email_changed` (to the old
    address), `new_sign_in` (from a client that is not known); empty: none."""

    @field_validator("notices")
    @classmethod
    def _are_notices(cls, text: str) -> str:
        notices_of(text)
        return text

    @property
    def sends_notifications(self) -> bool:
        """Whether there is a notifications service to call."""
        return self.notifications_address != "off"


def notices_of(text: str) -> frozenset[Notice]:
    """Read the names of notices; raises ValueError that names what is wrong."""
    names = [name for part in text.split(",") if (name := part.strip())]
    if unknown := sorted(set(names) - set(Notice)):
        raise ValueError(f"{unknown[0]!r} is not one of {', '.join(Notice)}")
    return frozenset(map(Notice, names))
