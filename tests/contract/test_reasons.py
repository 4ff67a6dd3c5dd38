"""The error reasons: known by name and number, and used with the status code that their comment promises."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from vibework.errors.v1 import ErrorReason

import notifications_service
import users_service
from chassis.errors import ServiceError
from chassis.interceptors.status import code_of
from tests.contract.rendering import answers, comments_of

PREFIX = "ERROR_REASON_"
FILE = "vibework/errors/v1/error_reason.proto"
Files = dict[str, FileDescriptorProto]


def test_every_reason_matches_its_golden_line(files: Files, golden: Callable[[str, str], None]) -> None:
    """A reason keeps its name, its number and its status code for ever."""
    numbers = dict(ErrorReason.items())
    lines = [f"{numbers[PREFIX + name]} {name} {code}" for name, code in _documented(files).items()]
    golden("reasons.txt", "\n".join(lines) + "\n")


def test_comments_name_reasons_of_the_enum_with_their_code(files: Files) -> None:
    """What an RPC's comment promises is what the reason's own comment says."""
    documented = _documented(files)
    wrong = [
        f"{file.name}: {code} ({reason})"
        for file in files.values()
        for comment in comments_of(file).values()
        for code, reasons in answers(comment).items()
        for reason in reasons
        if documented.get(reason) != code
    ]
    assert wrong == []


def test_every_error_is_sent_with_the_code_of_its_reason(files: Files) -> None:
    """The one table of kinds and the enum agree on each error that the code can raise."""
    documented = _documented(files)
    raised = {error.reason: code_of(error.__new__(error)).name for error in _errors(ServiceError)}
    assert len(raised) > 30
    assert {reason: code for reason, code in raised.items() if documented.get(reason) != code} == {}


def _documented(files: Files) -> dict[str, str]:
    """Return the status code of each reason, the first word in capitals of its comment."""
    file = files[FILE]
    comments = comments_of(file)
    names = [value.name.removeprefix(PREFIX) for value in file.enum_type[0].value]
    return {name: _code(comments[5, 0, 2, number]) for number, name in enumerate(names) if name != "UNSPECIFIED"}


def _code(comment: str) -> str:
    words = (word.strip(",:.") for word in comment.split())
    return next(word for word in words if len(word) > 3 and word.replace("_", "").isupper())


def _errors(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for error in base.__subclasses__():
        # Not those that unit tests make up.
        if "reason" in vars(error) and not error.__module__.startswith("tests"):
            yield error
        yield from _errors(error)


@pytest.fixture(autouse=True, scope="module")
def _import_everything() -> None:
    """Import every module of both services, so that every error class is known."""
    for package in (users_service, notifications_service):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):  # would run the command
                importlib.import_module(module.name)
