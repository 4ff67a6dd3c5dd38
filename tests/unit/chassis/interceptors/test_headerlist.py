"""Header lists: no error is larger than its reader takes, whatever it repeats of the request."""

from __future__ import annotations

import base64
from collections import defaultdict
from datetime import timedelta
from typing import Final
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from chassis.contract.localization import Catalogue
from chassis.errors import FieldViolation, ServiceError
from chassis.interceptors.headerlist import MOST_BYTES, OTHERS_BYTES, cut
from chassis.interceptors.status import LEFT_OUT, to_status

PARTY = "\N{PARTY POPPER}"
TEXTS = st.text(max_size=20).flatmap(
    lambda text: st.sampled_from([text, text * 40, text * 4_000, PARTY * 600, "%" * 600])
)
VIOLATIONS = st.builds(FieldViolation, TEXTS, TEXTS, st.just("R" * 63))


class Repeating(ServiceError):
    """An error with as many variables as any has, which may all repeat the request."""

    reason = "REPEATING_WHAT_WAS_SENT"
    keys = ("first_variable", "second_variable", "third_variable")
    template = "{first_variable}, {second_variable}, {third_variable}"

    def __init__(self, texts: list[str], violations: list[FieldViolation]) -> None:
        super().__init__(violations=violations, retry_after=timedelta(days=9_999, microseconds=7))
        self.first_variable, self.second_variable, self.third_variable = texts


def header_list_bytes(status: status_pb2.Status, request_id: str) -> int:
    """Return the size of the trailing headers that gRPC makes of a status, written out here as in its documents."""
    headers = {
        ":status": "200",
        "content-type": "application/grpc",
        "grpc-status": str(status.code),
        "grpc-message": quote(status.message, safe="".join(chr(byte) for byte in range(0x20, 0x7F) if byte != 0x25)),
        "grpc-status-details-bin": base64.b64encode(status.SerializeToString()).decode(),
        "x-request-id": request_id,
    }
    return sum(len(name) + len(value) + 32 for name, value in headers.items())


# A language in which everything is said again, and more.
WORDY: Final = Catalogue(
    "pt-BR", {Repeating.reason: f"{Repeating.template}, {Repeating.template}"}, defaultdict(lambda: "é" * 1_000)
)


@given(
    st.lists(TEXTS, min_size=3, max_size=3),
    st.lists(VIOLATIONS, max_size=40),
    st.integers(1, 128),
    st.sampled_from([None, WORDY]),
)
def test_every_error_fits_and_counts_what_it_leaves_out(
    texts: list[str], violations: list[FieldViolation], length: int, catalogue: Catalogue | None
) -> None:
    """At least the first violation is told, and the number of those that are not."""
    status = to_status(Repeating(texts, violations), "r" * length, catalogue)
    assert header_list_bytes(status, "r" * length) <= MOST_BYTES - OTHERS_BYTES
    info, told = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info)
    assert any(detail.Unpack(told) for detail in status.details) is bool(violations)
    assert len(told.field_violations) + int(info.metadata.get(LEFT_OUT, "0")) == len(violations)
    assert bool(told.field_violations) is bool(violations)


def test_the_room_is_used() -> None:
    """Short violations are not left out for the sake of longer ones."""
    violations = [FieldViolation(f"items[{number}].id", "is wrong", "WRONG") for number in range(1_000)]
    status = to_status(Repeating(["", "", ""], violations), "r")
    assert header_list_bytes(status, "r") > MOST_BYTES - OTHERS_BYTES - 300


@pytest.mark.parametrize(
    ("text", "characters", "most", "expected"),
    [
        ("abc", 3, 3, "abc"),
        ("abcd", 3, 9, "abc"),
        ("abcd", 9, 3, "abc"),
        (PARTY * 3, 9, 9, PARTY * 2),
        (f"a{PARTY}", 2, 4, "a"),
        ("\ud800a", 9, 9, "?a"),
    ],
)
def test_a_text_is_cut_between_characters(text: str, characters: int, most: int, expected: str) -> None:
    """What is left is text, in UTF-8, too."""
    assert cut(text, characters, most) == expected
