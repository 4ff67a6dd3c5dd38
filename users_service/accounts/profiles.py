"""Profiles that providers tell of their users: what of one can be kept of a user who is created.

A profile never decides a sign-in to a linked account. It is looked at where the account is new, and then only what a
user cannot be created without, the address, is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from google.protobuf.message import Message
from vibework.users.v1.user_service_pb2 import CreateUserRequest

from chassis.errors import InvalidFields
from users_service.accounts.model import Profile
from users_service.users.email import MAX_LENGTH, folded

# What the column holds, and the contract allows.
_NAME_CHARACTERS: Final = 255


def verified_email(profile: Profile) -> str | None:
    """Return the address, normalised, that the provider says it has verified; None where it says so of none."""
    address = folded(profile.email)
    return address if profile.email_verified and 0 < len(address) <= MAX_LENGTH else None


class ProfileRules:
    """The rules of profiles: those of CreateUser, which ``check`` holds a request to."""

    def __init__(self, check: Callable[[Message], None]) -> None:
        self._check = check

    def fitted(self, profile: Profile) -> Profile:
        """Return a profile as a new user may have it: the name cut, a picture that cannot be kept left out.

        Raises InvalidFields where the address is missing or is none.
        """
        short = replace(profile, name=profile.name[:_NAME_CHARACTERS])
        try:
            self._check(CreateUserRequest(email=short.email, name=short.name, image=short.image))
        except InvalidFields as error:
            if wrong := [violation for violation in error.violations if violation.field == "email"]:
                raise InvalidFields(wrong) from None
            return replace(short, image="")
        return short
