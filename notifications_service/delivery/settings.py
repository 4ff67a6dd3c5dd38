"""Settings of delivery: where the worker runs, how often it tries, and how fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chassis.settings import FeatureSettings, Milliseconds
from notifications_service.delivery.channels.settings import EmailSettings
from notifications_service.preferences.settings import UnsubscribeSettings


class DeliverySettings(FeatureSettings):
    """How what goes out by email and push is sent."""

    delivery: Literal["in-process", "separate"] = "in-process"
    """`in-process`: `serve` sends what goes out; `separate`: processes of `notifications-service deliver` do."""
    delivery_attempts: Annotated[int, Field(ge=1, le=100)] = 8
    """How often sending is tried before a delivery is given up (dead letter)."""
    delivery_poll_ms: Annotated[Milliseconds, Field(ge=10)] = 1_000
    """How often the outbox is searched for what became due, or was left by other processes."""
    delivery_lease_ms: Annotated[Milliseconds, Field(ge=1_000)] = 60_000
    """How long what a worker has taken is its own; renewed while it works, and taken over once it has passed."""
    email_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Deliveries by email in a second, of all processes together; 0: no limit."""
    push_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Deliveries by push in a second, of all processes together, each to all browsers of its user; 0: no limit."""
    email_unverified: Literal["keep-back", "send"] = "keep-back"
    """Whether notifications go by email to addresses that their users have not verified."""


class SendingSettings(DeliverySettings, UnsubscribeSettings, EmailSettings):
    """All that a process that sends needs to know."""
