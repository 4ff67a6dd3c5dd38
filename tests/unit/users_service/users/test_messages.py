"""Users between the code and the contract: nothing is lost on the way, and masks are obeyed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from vibework.users.v1 import user_pb2, user_service_pb2

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND
from chassis.errors import InvalidFields
from users_service.users import messages
from users_service.users.email import MAX_LENGTH, normalize
from users_service.users.model import UserChanges, UserFilter, new_user
from users_service.users.service import NO_REVISION, _revision

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


def test_every_field_of_the_message_is_filled() -> None:
    """A field that is added to the contract must not stay empty unnoticed."""
    user = new_user("a@b.cc", NOW, email_verified=True, name="n", image="i")
    message = user_pb2.User()
    messages.fill(message, user)
    of_disabled = {"disabled_at", "disabled_until", "disabled_reason"}
    expected = set(user_pb2.User.DESCRIPTOR.fields_by_name) - of_disabled
    assert {field.name for field, _ in message.ListFields()} == expected
    assert message.created_at.ToDatetime(tzinfo=UTC) == NOW


def test_an_absent_condition_is_no_condition() -> None:
    """False is a condition, absence is none."""
    assert messages.filter_of(user_service_pb2.UserFilter()) == UserFilter()
    assert messages.filter_of(user_service_pb2.UserFilter(email_verified=False)).email_verified is False


@pytest.mark.parametrize(("nanos", "microsecond"), [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)])
def test_bounds_are_rounded_up_to_what_is_stored(nanos: int, microsecond: int) -> None:
    """The first storable time at or after the bound divides the stored times as the bound itself does."""
    wanted = user_service_pb2.UserFilter(created_after=Timestamp(seconds=0, nanos=nanos))
    after = messages.filter_of(wanted).created_after
    assert after is not None
    assert after.microsecond == microsecond


def test_the_ends_of_the_calendar_are_bounds() -> None:
    """Rounding up the end of the year 9999 goes no further than Python's times, which no stored one comes near."""
    first, last = Timestamp(seconds=FIRST_SECOND), Timestamp(seconds=LAST_SECOND, nanos=999_999_999)
    wanted = messages.filter_of(user_service_pb2.UserFilter(created_after=first, created_before=last))
    assert wanted.created_after == datetime.min.replace(tzinfo=UTC)
    assert wanted.created_before == datetime.max.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("paths", "changes"),
    [
        (["name"], UserChanges(name="n")),
        (["name", "image"], UserChanges(name="n", image="")),
        (["email_verified"], UserChanges(email_verified=False)),
        (["*"], UserChanges(email="a@b.cc", name="n", image="", email_verified=False)),
    ],
)
def test_changes_are_what_the_mask_names(paths: list[str], changes: UserChanges) -> None:
    """Fields outside of the mask stay as they are, whatever the request holds."""
    user = user_pb2.User(email="a@b.cc", name="n", image="no URL" if "image" not in paths and "*" not in paths else "")
    request = user_service_pb2.UpdateUserRequest(user=user, update_mask=FieldMask(paths=paths))
    assert messages.changes_of(request, messages.rules_of_updates()) == changes


def test_an_address_is_normalised_by_case() -> None:
    """Case folding, not lower case: it also joins what has no single lower form."""
    assert normalize("ANN@Example.COM") == "ann@example.com"
    assert normalize("STRASSE@x.de") == normalize("straße@x.de")


def test_an_address_that_grows_too_long_is_refused() -> None:
    """The limit holds for what is stored."""
    assert normalize("a" * MAX_LENGTH)
    with pytest.raises(InvalidFields):
        normalize("ß" * MAX_LENGTH)


@pytest.mark.parametrize(
    ("etag", "revision"),
    [('"1"', 1), ('"0"', 0), ('"12"', 12), *((text, NO_REVISION) for text in ("1", '"01"', 'W/"1"', '""', '"1.2"'))],
)
def test_an_etag_stands_for_a_revision(etag: str, revision: int) -> None:
    """What was never issued matches no state."""
    assert _revision(etag) == revision
