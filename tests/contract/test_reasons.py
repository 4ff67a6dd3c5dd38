"""The error reasons: known by name and number, used with the status code and metadata that their comment promises."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from vibework.errors.v1 import ErrorReason

import chassis
import notifications_service
import users_service
from chassis.access.problems import Problem
from chassis.errors import FieldViolation, ServiceError
from chassis.interceptors.status import code_of
from tests.contract.rendering import answers, comments_of
from tests.harness.sources import reads_sources, tree_of

pytestmark = reads_sources
PREFIX = "ERROR_REASON_"
FILE = "vibework/errors/v1/error_reason.proto"
KEY = re.compile(r"([a-z][a-z0-9_]+) \(([^()]+)\)")
# Calls that give a field violation its reason.
MAKING = ("FieldViolation", "InvalidFields.of")
METADATA = re.compile(rf"{KEY.pattern}(, {KEY.pattern})*\.")
# By the type of an argument.
EXAMPLES: dict[str, Any] = {
    "str": "x",
    "str | None": "x",
    "int": 7,
    "float": 7.0,
    "Problem": Problem.NO_CREDENTIAL,
    "Literal['calls', 'tokens']": "calls",
    "timedelta": timedelta(seconds=7),
    "Iterable[str]": ["x"],
    "Iterable[FieldViolation]": [FieldViolation("x", "is wrong", "WRONG")],
    "Mapping[str, str]": {"user_id": "x"},
}
Files = dict[str, FileDescriptorProto]


def test_every_reason_matches_its_golden_line(files: Files, golden: Callable[[str, str], None]) -> None:
    """A reason keeps its name, its number, its status code and the keys of its metadata for ever."""
    numbers, keys = dict(ErrorReason.items()), _keys(files)
    lines = [
        " ".join([f"{numbers[PREFIX + name]} {name} {code}", *keys[name]]) for name, code in _documented(files).items()
    ]
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


def test_every_error_has_the_metadata_of_its_reason(files: Files) -> None:
    """Each error declares the keys that its reason's comment lists, and sets them all: a caller may build on them."""
    documented = _keys(files)
    for error in _errors(ServiceError):
        assert error.keys == documented[error.reason], error
        assert tuple(_made(error).metadata) == error.keys, error


def test_messages_have_no_variables_but_the_metadata() -> None:
    """Whoever writes messages in another language has every variable of ours (AIP-193)."""
    for error in _errors(ServiceError):
        variables = {name for _, name, _, _ in Formatter().parse(error.template) if name is not None}
        assert variables <= set(error.keys), error
        assert _made(error).message


def test_no_secret_and_no_address_is_a_key(files: Files) -> None:
    """Metadata is logged by whoever calls: nothing that the contract calls secret, and no email, is in it."""
    secret = {
        field.name
        for file in files.values()
        for message in file.message_type
        for field in message.field
        if field.options.debug_redact
    }
    assert {"password", "session_token"} <= secret
    assert {key for keys in _keys(files).values() for key in keys} & (secret | {"email", "identifier"}) == set()


def test_every_violation_reason_is_documented(files: Files) -> None:
    """A caller finds each reason of a field violation that the code makes by hand beside the error's own."""
    words = set(re.findall(r"`([A-Z0-9_]+)`", " ".join(comments_of(files[FILE]).values())))
    made = _made_by_hand()
    assert {"JSON_LEVELS", "MASK_EMPTY", "STRING_TRAILING_SPACE"} <= made
    assert made - words == set()


def _documented(files: Files) -> dict[str, str]:
    """Return the status code of each reason, the first word in capitals of its comment."""
    return {name: _code(comment) for name, comment in _comments(files).items()}


def _keys(files: Files) -> dict[str, tuple[str, ...]]:
    """Return the keys of each reason's metadata: ``Metadata: key (what it holds), key (…).`` ends its comment."""
    found = {name: comment.partition(" Metadata: ")[2] for name, comment in _comments(files).items()}
    assert [name for name, text in found.items() if text and not METADATA.fullmatch(text)] == []
    return {name: tuple(key for key, _ in KEY.findall(text)) for name, text in found.items()}


def _comments(files: Files) -> dict[str, str]:
    file = files[FILE]
    comments = comments_of(file)
    names = [value.name.removeprefix(PREFIX) for value in file.enum_type[0].value]
    return {name: comments[5, 0, 2, number] for number, name in enumerate(names) if name != "UNSPECIFIED"}


def _code(comment: str) -> str:
    words = (word.strip(",:.") for word in comment.split())
    return next(word for word in words if len(word) > 3 and word.replace("_", "").isupper())


def _errors(base: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for error in base.__subclasses__():
        # Not those that unit tests make up.
        if hasattr(error, "reason") and not error.__module__.startswith("tests"):
            yield error
        yield from _errors(error)


def _made(error: type[ServiceError]) -> ServiceError:
    """Make an error as a raise does, with an example for each argument that must be given."""
    needed = [each for each in inspect.signature(error).parameters.values() if each.default is each.empty]
    return error(**{each.name: EXAMPLES[each.annotation] for each in needed})


def _made_by_hand() -> set[str]:
    """Return the reasons that the code gives to field violations in words of its own."""
    calls = (
        node
        for package in (chassis, users_service, notifications_service)
        for path in Path(package.__path__[0]).rglob("*.py")
        for node in ast.walk(tree_of(path))
        # The text of each call would take long.
        if isinstance(node, ast.Call) and len(node.args) == 3 and ast.unparse(node.func) in MAKING
    )
    reasons = (call.args[2] for call in calls)
    return {reason.value for reason in reasons if isinstance(reason, ast.Constant) and isinstance(reason.value, str)}


@pytest.fixture(autouse=True, scope="module")
def _import_everything() -> None:
    """Import every module of both services, so that every error class is known."""
    for package in (users_service, notifications_service):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(".__main__"):  # would run the command
                importlib.import_module(module.name)
