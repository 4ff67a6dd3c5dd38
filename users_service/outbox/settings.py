"""Settings of the outbox: where its calls go, and how soon."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chassis.settings import Milliseconds, ServerSettings


class OutboxSettings(ServerSettings):
    """Where calls left in the outbox go, and how soon; how the other service is called is a server's setting."""

    notifications_address: str = "127.0.0.1:50052"
    """The notifications service; `off`: what is to be sent there waits in the outbox."""
    outbox_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 1_000
    """How often the outbox is searched for calls left by other processes, or due again."""

    @property
    def sends_notifications(self) -> bool:
        """Whether there is a notifications service to call."""
        return self.notifications_address != "off"
