"""Watches all tests: an error that a server of this process answers is one that its contract promises.

``tests/contract/test_documented_reasons.py`` derives from the code what may be answered. This is the other side: what
was answered, whatever the way on which it came about. The promises are those of ``tests/contract/golden``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from chassis.context.calls import Call
from chassis.errors import ServiceError
from chassis.interceptors import envelope, errors
from tests.contract.rendering import answers

TESTS: Final = Path(__file__).parents[1]
GOLDEN: Final = TESTS / "contract" / "golden"
UNIT: Final = TESTS / "unit"
# Full names of methods, as gRPC has them, with the reasons that they have answered.
_answered: Final[set[tuple[str, str]]] = set()
_note: Final = errors.note


def _noting(call: Call, error: ServiceError) -> None:
    _answered.add((call.method, error.reason))
    _note(call, error)


def pytest_configure() -> None:
    """Take note of every error that is answered from now on."""
    errors.note = envelope.note = _noting  # type: ignore[attr-defined]  # the name under which the envelope has it


@pytest.fixture(autouse=True)
def _promised(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which an error was answered that nobody was promised."""
    yield
    answered = set(_answered)
    _answered.difference_update(answered)
    known = promises()
    broken = [each for each in sorted(answered) if each[0] in known and each[1] not in known[each[0]]]
    # Unit tests have servicers of their own, which answer what they like under any name.
    assert broken == [] or request.path.is_relative_to(UNIT)


@cache
def promises() -> dict[str, frozenset[str]]:
    """Return the reasons that are promised of each method."""
    return {name: reasons for path in GOLDEN.glob("*_service.txt") for name, reasons in _of_file(path.read_text())}


def _of_file(text: str) -> Iterator[tuple[str, frozenset[str]]]:
    package = text.partition("package ")[2].partition("\n")[0]
    for service in text.split("\nservice ")[1:]:
        name, *lines = service.partition("\n\n")[0].splitlines()
        common = _reasons(lines[0])
        for rpc in "\n".join(lines).split("\n  rpc ")[1:]:
            method = rpc.partition("(")[0]
            yield f"/{package}.{name}/{method}", common | _reasons(rpc.partition("\n")[2])


def _reasons(text: str) -> frozenset[str]:
    return frozenset(reason for reasons in answers(text).values() for reason in reasons)
