"""Lines of a file become users or problems, whatever they hold; a problem tells nothing of what they hold."""

from __future__ import annotations

import io
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vibework.users.v1.imported_user_pb2 import ImportedUser

from users_service.imports import lines
from users_service.imports.lines import Line, LineProblem, Lines, parse

NAMES = ["id", "email", "accounts", "account", "provider", "createdAt", "sessions", "tokenSha256", "disabled", "x y"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=8,
)


def read(content: bytes, first: int = 1) -> list[tuple[int, bytes | None]]:
    """Read all lines of a file."""
    found, left = [], Lines(io.BytesIO(content), first)
    while batch := left.batch():
        found += [(line.number, line.content) for line in batch]
    return found


@given(st.binary(max_size=60))
def test_any_bytes_are_a_user_or_a_problem(content: bytes) -> None:
    """No line ends an import."""
    for number, each in read(content):
        assert isinstance(parse(Line(number, each)), ImportedUser | LineProblem)


@given(JSON)
def test_any_json_is_a_user_or_a_problem(value: Any) -> None:
    """Also what has the names of the contract, with other values than it says."""
    assert isinstance(parse(Line(1, orjson.dumps(value))), ImportedUser | LineProblem)


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ('{"passwordHash": {"a secret": 1}}', "passwordHash"),
        ('{"createdAt": "a secret"}', "createdAt"),
        ('{"sessions": [{"sessionToken": "a secret", "ipAddress": 7}]}', "sessions.ipAddress"),
        ('{"a secret": 7}', ""),
        ('{"disabled": {"typo": "a secret"}}', "disabled.typo"),
        ('{"id": "a secret"', ""),
        ('"a secret"', ""),
    ],
)
def test_a_problem_names_the_field_and_repeats_no_value(content: str, field: str) -> None:
    """A file of users holds hashes and tokens, and reports are kept."""
    problem = parse(Line(1, content.encode()))
    assert isinstance(problem, LineProblem)
    assert problem.field == field
    assert "secret" not in problem.text


def test_lines_are_numbered_as_an_editor_does() -> None:
    """Empty ones are passed over and counted; the mark of a file's encoding is no part of the first."""
    assert read(b"\xef\xbb\xbfa\n\n \r\nb\n c") == [(1, b"a\n"), (4, b"b\n"), (5, b" c")]
    assert read(b"a\nb\nc\n", first=3) == [(3, b"c\n")]
    assert read(b"") == []


def test_a_line_that_is_too_long_is_one_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not kept in memory, and the lines behind it keep their numbers."""
    monkeypatch.setattr(lines, "LONGEST", 10)
    assert read(b"x" * 35 + b"\nb\n" + b"y" * 11) == [(1, None), (2, b"b\n"), (3, None)]
    assert read(b"x" * 10 + b"\n" + b"x" * 9 + b"\n") == [(1, b"x" * 10 + b"\n"), (2, b"x" * 9 + b"\n")]


def test_batches_are_bounded_by_lines_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """So much is in memory, however long the file is."""
    monkeypatch.setattr(lines, "LINES", 3)
    monkeypatch.setattr(lines, "BYTES", 10)
    found = Lines(io.BytesIO(b"a\n" * 4 + b"x" * 20 + b"\nb\n"))
    assert [len(found.batch()) for _ in range(4)] == [3, 2, 1, 0]
