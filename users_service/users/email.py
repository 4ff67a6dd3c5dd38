"""The form of an email address in which it is unique and looked up."""

from __future__ import annotations

from typing import Final

from chassis.errors import InvalidFields

# RFC 5321, 4.5.3.1.3 as corrected: a path is 256 octets with its brackets.
MAX_LENGTH: Final = 254


def normalize(email: str) -> str:
    """Return the address case-folded; raises InvalidFields where that is longer than 254 characters."""
    folded = email.casefold()
    if len(folded) > MAX_LENGTH:
        raise InvalidFields.of("email", f"at most {MAX_LENGTH} characters, case-folded")
    return folded
