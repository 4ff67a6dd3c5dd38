"""Normalisation of email addresses: the form in which they are unique and looked up."""

from __future__ import annotations

from typing import Final

from chassis.errors import InvalidFields

# RFC 5321, 4.5.3.1.3 as corrected: a path is 256 octets with its brackets.
MAX_LENGTH: Final = 254


def folded(email: str) -> str:
    """Return the address case-folded and without spaces around it, however long that is."""
    # To the collation "a@b.cc" and "a@b.cc " are equal; if they were two texts here, each would have its own limits.
    return email.strip().casefold()


def normalize(email: str, field: str = "email") -> str:
    """Return the address as ``folded`` does.

    Raises InvalidFields, naming the request's ``field``, where that is longer than 254 characters.
    """
    normalized = folded(email)
    if len(normalized) > MAX_LENGTH:
        raise InvalidFields.of(field, f"at most {MAX_LENGTH} characters, case-folded", "STRING_MAX_LEN")
    return normalized
