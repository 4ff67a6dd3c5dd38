"""Settings of the recipient check: whether and where users are looked up, and how long answers are cached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chassis.settings import Milliseconds, ServerSettings


class RecipientSettings(ServerSettings):
    """Whether recipients are checked, where, and how long an answer is believed.

    How the other service is called is a server's setting.
    """

    users_address: str = "127.0.0.1:50051"
    """The users service, which says whether a recipient exists."""
    recipient_check: Literal["required", "accept-when-unavailable", "off"] = "required"
    """`required`: unknown recipients are refused; `accept-when-unavailable`: but not while the users service cannot be
    asked; `off`: all are accepted."""
    recipient_check_timeout_ms: Annotated[Milliseconds, Field(ge=1)] = 1_000
    """How long asking may take."""
    recipient_known_ms: Milliseconds = 60_000
    """How long a yes is believed."""
    recipient_unknown_ms: Milliseconds = 2_000
    """How long a no is believed."""
