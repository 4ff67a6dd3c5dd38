"""Profiles of providers: what can be kept of one is kept."""

from __future__ import annotations

import pytest
from vibework.users.v1.user_service_pb2 import CreateUserRequest

from chassis.errors import InvalidFields
from chassis.interceptors.validation import check_of
from users_service.accounts.model import Profile
from users_service.accounts.profiles import ProfileRules, verified_email

RULES = ProfileRules(check_of(CreateUserRequest))
ANN = Profile("ann@example.com", email_verified=True, name="Ann", image="https://example.com/ann.png")


def test_what_a_user_can_have_is_kept_as_it_is() -> None:
    """A usual profile loses nothing."""
    assert RULES.fitted(ANN) == ANN


@pytest.mark.parametrize(
    "image", [f"https://example.com/{'a' * 300}", f"data:image/png;base64,{'A' * 9_000}", "no url"]
)
def test_a_picture_that_cannot_be_kept_is_left_out(image: str) -> None:
    """Nobody is kept from signing up for the sake of a picture, and the rest of the profile stays."""
    fitted = RULES.fitted(Profile(ANN.email, email_verified=True, name="😀" * 300, image=image))
    assert fitted == Profile(ANN.email, email_verified=True, name="😀" * 255, image="")


@pytest.mark.parametrize("email", ["", "ann", f"{'a' * 255}@example.com", "ann@example.com "])
def test_without_an_address_there_is_no_user(email: str) -> None:
    """Only the address is named, although the picture is wrong, too: it would have been left out."""
    with pytest.raises(InvalidFields) as caught:
        RULES.fitted(Profile(email, email_verified=True, name="", image="no url"))
    assert {violation.field for violation in caught.value.violations} == {"email"}


@pytest.mark.parametrize(
    ("email", "verified", "expected"),
    [
        ("Ann@Example.com", True, "ann@example.com"),
        (" ann@example.com ", True, "ann@example.com"),
        ("ann@example.com", False, None),
        ("", True, None),
        ("  ", True, None),
        ("a" * 243 + "@example.com", True, None),
    ],
)
def test_a_providers_word_is_kept_as_addresses_are_compared(email: str, verified: bool, expected: str | None) -> None:
    """Folded, and only where the provider says that it verified an address which a user can have."""
    profile = Profile(email=email, email_verified=verified, name="", image="")
    assert verified_email(profile) == expected
