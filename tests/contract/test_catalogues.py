"""The catalogues of messages: every reason and every rule, in every language, with the variables that there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, Final

import grpc
import pytest
from google.protobuf import descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pool import Default, DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from protovalidate._gen.buf.validate import validate_pb  # the rules as the wheel has them; no public name
from vibework.errors.v1 import ErrorReason
from vibework.users.v1 import GetUserRequest, SignUpRequest
from vibework.users.v1.session_service_pb2_grpc import SessionServiceStub
from vibework.users.v1.user_service_pb2_grpc import UserServiceStub

from chassis.contract.localization import LOCALES, catalogue
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.sources import reads_sources, tree_of
from tests.harness.users import UsersServer

pytestmark = reads_sources
ROOT: Final = Path(__file__).resolve().parents[2]
PROTO: Final = (ROOT / "protos/vibework/errors/v1/error_reason.proto").read_text()
REASONS: Final = {name.removeprefix("ERROR_REASON_") for name, number in ErrorReason.items() if number}
# Rules whose text protovalidate does not make: violations of errors that have a reason of their own.
FORMATS: Final = {"STRING_EMAIL", "STRING_IP", "STRING_URI", "STRING_UUID"}


def rules_of_fields() -> set[str]:
    """Return the reasons of all rules that a field of a request has, as protovalidate reports them."""
    pool = DescriptorPool()
    for module in (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(validate_pb._DESC.proto.to_binary())
    options: Any = GetMessageClass(pool.FindMessageTypeByName("google.protobuf.FieldOptions"))
    extension = pool.FindExtensionByName("buf.validate.field")
    found: set[str] = set()
    for message in messages():
        for field in message.fields:
            own = options.FromString(field.GetOptions().SerializeToString())
            if own.HasExtension(extension):
                found.update(reported(own.Extensions[extension]))
    return found


def messages() -> Iterator[Descriptor]:
    """Yield every message of the contract."""
    for path in (ROOT / "protos/vibework").rglob("*.proto"):
        file = Default().FindFileByName(str(path.relative_to(ROOT / "protos")))
        for message in file.message_types_by_name.values():
            yield from nested(message)


def nested(message: Descriptor) -> Iterator[Descriptor]:
    """Yield a message and those inside of it."""
    yield message
    for inner in message.nested_types:
        yield from nested(inner)


def reported(rules: Any) -> Iterator[str]:
    """Yield the reasons under which the rules of a field are reported."""
    for field, value in rules.ListFields():
        if field.name == "required":
            yield "REQUIRED"
        elif field.name not in ("ignore", "cel"):
            yield from of_type(field.name.upper(), value)


def of_type(kind: str, rules: Any) -> Iterator[str]:
    """Yield the reasons of the rules for one type; two bounds are one rule."""
    names = {field.name: value for field, value in rules.ListFields()}
    for inner in ("items", "keys", "values"):
        if inner in names:
            yield from reported(names.pop(inner))
    bounds = [name for name in ("gt", "gte", "lt", "lte") if name in names]
    if len(bounds) == 2:
        yield f"{kind}_{'_'.join(bounds).upper()}"
    yield from (f"{kind}_{name.upper()}" for name in names if len(bounds) < 2 or name not in bounds)
    yield from (f"{kind}_{name.upper()}_EMPTY" for name in names if f"{kind}_{name.upper()}" in FORMATS)


@cache
def rules_of_code() -> set[str]:
    """Return the rules that the code checks by itself, and those of several fields, which the contract names."""
    found = set(re.findall(r"`([A-Z0-9]+(?:_[A-Z0-9]+)+)`", PROTO[: PROTO.index("ERROR_REASON_FIELD_MASK_INVALID")]))
    for package in ("chassis", "users_service", "notifications_service"):
        for path in (ROOT / package).rglob("*.py"):
            found.update(_violations(tree_of(path)))
    # The comment names a reason as an example.
    return found - {"EMAIL_TAKEN"} | {"MASK_PATH"}


def _violations(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Call) and "FieldViolation" in ast.dump(node.func) and len(node.args) == 3:
            reason = node.args[2]
            if isinstance(reason, ast.Constant):
                yield str(reason.value)


@pytest.mark.parametrize("locale", LOCALES)
def test_every_reason_is_said(locale: str) -> None:
    """Nobody is shown a reason in capitals."""
    assert catalogue(locale).reasons.keys() == REASONS


@pytest.mark.parametrize("locale", LOCALES)
def test_every_rule_is_said(locale: str) -> None:
    """A form can show what is wrong beside the field, whichever rule it is."""
    needed = rules_of_fields() | rules_of_code()
    assert len(needed) > 50
    assert needed - catalogue(locale).rules.keys() == set()


def test_both_languages_say_the_same_things() -> None:
    """An entry in one language alone, or another variable, is a mistake of whoever added it."""
    english, *others = (catalogue(locale) for locale in LOCALES)
    for other in others:
        for mine, theirs in ((english.reasons, other.reasons), (english.rules, other.rules)):
            assert mine.keys() == theirs.keys()
            assert {key: variables(text) for key, text in mine.items()} == {
                key: variables(text) for key, text in theirs.items()
            }


def variables(text: str) -> set[str]:
    """Return the variables of a message."""
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("locale", LOCALES)
def test_messages_have_the_variables_of_their_reasons(locale: str) -> None:
    """A variable that the reason's comment does not document is never there."""
    for reason, text in catalogue(locale).reasons.items():
        comment = PROTO[: PROTO.index(f"  ERROR_REASON_{reason} =")].rpartition(";")[2]
        for name in variables(text):
            assert re.search(rf"Metadata:.*\b{name} \(", " ".join(comment.split())), reason


def test_a_caller_gets_the_language_that_it_asks_for(users_server: UsersServer) -> None:
    """Beside the reason, for the error as a whole and for each field; without the header neither."""
    with users_server.channel() as channel:
        stub, users = SessionServiceStub(channel), UserServiceStub(channel)
        for header, expected, of_field in (
            ((("accept-language", "pt-BR"),), "Alguns dados não são válidos.", "deve ser um e-mail"),
            ((("accept-language", "en"),), "Some entries are not valid.", "must be an email address"),
            ((), "", ""),
        ):
            with pytest.raises(grpc.RpcError) as refused:
                stub.SignUp(
                    SignUpRequest(email="ada", password="correct horse"), metadata=header, timeout=PATIENCE_SECONDS
                )
            localized, told = error_details_pb2.LocalizedMessage(), error_details_pb2.BadRequest()
            for detail in details_of(refused.value):
                detail.Unpack(localized)
                detail.Unpack(told)
            assert localized.message == expected
            assert [each.localized_message.message for each in told.field_violations] == [of_field]
        with pytest.raises(grpc.RpcError) as missing:
            users.GetUser(GetUserRequest(id="nobody"), metadata=(("accept-language", "pt"),), timeout=PATIENCE_SECONDS)
        assert any(detail.type_url.endswith("LocalizedMessage") for detail in details_of(missing.value))


def details_of(error: Any) -> Any:
    """Return the details of a failed call."""
    return rpc_status.from_call(error).details
