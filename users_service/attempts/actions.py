"""Actions whose attempts are counted.

Each is a door with a counter of its own: whoever uses up the attempts at one, by requests or by wrong tries, shuts no
other (decision 0031).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Action:
    """An action and, where there are several of its kind, what it is for: those are counted apart."""

    name: str
    purpose: str = ""


# Users made from one address, by sign-up or by a provider's word.
SIGN_UP: Final = Action("sign_up")
SIGN_IN: Final = Action("sign_in")
# Guesses at the password by whoever holds a session of its user.
CHANGE_PASSWORD: Final = Action("change_password")


def create_verification(purpose: str) -> Action:
    """Name the request for a secret of one purpose."""
    return Action("create_verification", purpose)


def consume_verification(purpose: str) -> Action:
    """Name the try of a secret of one purpose."""
    return Action("consume_verification", purpose)
