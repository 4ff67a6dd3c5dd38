"""Work on messages that does not depend on what they mean: masks, fingerprints, times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from vibework.users.v1 import account_service_pb2 as accounts_pb2
from vibework.users.v1 import session_service_pb2 as sessions_pb2
from vibework.users.v1 import verification_service_pb2 as verifications_pb2
from vibework.users.v1.user_pb2 import ClientContext

from chassis.contract import fieldmask, timestamps
from chassis.contract.fingerprint import fingerprint
from chassis.contract.idempotency import RequestIdReused, check_repeat, request_fingerprint

FIELDS = ("email", "name", "password")


def _sign_up(**fields: str) -> sessions_pb2.SignUpRequest:
    return sessions_pb2.SignUpRequest(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("paths", "changed"),
    [(["name"], {"name"}), (["*"], set(FIELDS)), ([], {"email"}), (["name", "email"], {"name", "email"})],
)
def test_an_update_changes_what_its_mask_names(paths: list[str], changed: set[str]) -> None:
    """AIP-134: named fields, all for *, and without a mask those that are set."""
    message = _sign_up(email="ada@example.com", request_id="not to be changed")
    assert fieldmask.update_paths(FieldMask(paths=paths), message, FIELDS) == changed


def test_a_fixed_field_in_an_update_is_named() -> None:
    """The caller learns which path it must not name."""
    with pytest.raises(fieldmask.FieldMaskInvalid) as caught:
        fieldmask.update_paths(FieldMask(paths=["name", "id"]), _sign_up(), FIELDS)
    assert "'id'" in caught.value.violations[0].description
    assert len(caught.value.violations) == 1


def test_a_read_returns_what_its_mask_names() -> None:
    """Named paths stay, nested ones alone, everything else is cleared."""
    session = sessions_pb2.Session(id="s", user_id="u", ip_address="::1")
    session.created_at.FromDatetime(datetime(2026, 1, 1, 0, 0, 0, 5, UTC))
    paths = fieldmask.read_paths(FieldMask(paths=["id", "created_at.seconds"]), session.DESCRIPTOR)
    fieldmask.prune(session, paths)
    assert (session.id, session.user_id, session.ip_address) == ("s", "", "")
    assert (session.created_at.seconds, session.created_at.nanos) == (1767225600, 0)


def test_a_whole_field_wins_over_a_part_of_it() -> None:
    """A mask with a field and a path below it returns the whole field, in any order."""
    for paths in (["created_at", "created_at.seconds"], ["created_at.seconds", "created_at"]):
        session = sessions_pb2.Session(created_at=Timestamp(seconds=1, nanos=2))
        fieldmask.prune(session, fieldmask.read_paths(FieldMask(paths=paths), session.DESCRIPTOR))
        assert session.created_at.nanos == 2


@pytest.mark.parametrize("paths", [[], ["*"]])
def test_no_mask_returns_everything(paths: list[str]) -> None:
    """AIP-157: without a mask nothing is left out."""
    session = sessions_pb2.Session(id="s")
    fieldmask.prune(session, fieldmask.read_paths(FieldMask(paths=paths), session.DESCRIPTOR))
    assert session.id == "s"


@pytest.mark.parametrize("path", ["nothing", "id.x", "created_at.nothing", "", "*.id"])
def test_a_path_that_does_not_exist_is_refused(path: str) -> None:
    """A misspelt path is an error and not an empty answer."""
    with pytest.raises(fieldmask.FieldMaskInvalid):
        fieldmask.read_paths(FieldMask(paths=[path]), sessions_pb2.Session.DESCRIPTOR)


def test_a_repeat_is_known_by_its_body() -> None:
    """The request id itself does not count; any other difference does."""
    stored = request_fingerprint(_sign_up(email="ada@example.com", request_id="1"))
    check_repeat(stored, _sign_up(email="ada@example.com", request_id="2"))
    with pytest.raises(RequestIdReused):
        check_repeat(stored, _sign_up(email="bob@example.com", request_id="1"))


REPEATABLE = [
    message
    for file in (accounts_pb2, sessions_pb2, verifications_pb2)
    for name, message in vars(file).items()
    if name.endswith("Request") and {"request_id", "client"} <= set(message.DESCRIPTOR.fields_by_name)
]


@pytest.mark.parametrize("message", REPEATABLE, ids=lambda message: message.DESCRIPTOR.name)
def test_a_repeat_may_come_from_another_browser(message: Any) -> None:
    """Where the end user calls from is not compared, by any RPC that takes a request id."""
    stored = request_fingerprint(message(request_id="1"))
    check_repeat(stored, message(request_id="1", client=ClientContext(ip_address="::1", user_agent="another")))


def test_every_repeatable_request_of_an_end_user_is_tried() -> None:
    """The list is made from the contract, and holds sign-ins and sign-ups."""
    names = {message.DESCRIPTOR.name for message in REPEATABLE}
    assert names >= {"SignUpRequest", "SignInRequest", "CreateSessionRequest", "SignInWithAccountRequest"}


def test_fingerprints_of_different_types_differ() -> None:
    """Equal bytes of two request types are two requests."""
    assert fingerprint(sessions_pb2.SignInRequest(email="a")) != fingerprint(sessions_pb2.SignUpRequest(email="a"))


def test_a_fingerprint_leaves_its_message_alone() -> None:
    """The fields left out of the print stay in the request."""
    request = _sign_up(request_id="1")
    fingerprint(request, without=("request_id",))
    assert request.request_id == "1"


@given(st.datetimes(timezones=st.just(UTC)))
def test_times_come_back_to_the_microsecond(value: datetime) -> None:
    """Nothing is lost between the database, Python and the wire, before 1970 too."""
    assert timestamps.from_proto(timestamps.to_proto(value)) == value
    assert timestamps.from_micros(timestamps.micros(value)) == value
    assert timestamps.to_proto(value).ToDatetime(tzinfo=UTC) == value


def test_times_of_databases_and_other_zones() -> None:
    """A naive time is UTC, another zone is converted, none leaves the field unset, and 1970 is a time."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert timestamps.to_proto(noon.replace(tzinfo=None)) == timestamps.to_proto(noon)
    assert timestamps.to_proto(noon.astimezone(timezone(timedelta(hours=2)))) == timestamps.to_proto(noon)
    session = sessions_pb2.Session()
    timestamps.assign(session.created_at, None)
    assert not session.HasField("created_at")
    timestamps.assign(session.created_at, datetime(1970, 1, 1, tzinfo=UTC))
    assert session.HasField("created_at")
