"""The contract as callers see it: a change to any RPC, message, field, rule or enum value shows in review."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import vibework.errors.v1
import vibework.notifications.v1
import vibework.users.v1
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileOptions,
    MethodDescriptorProto,
)
from protovalidate._gen.buf.validate import validate_pb  # the rules as the wheel has them; no public name

from notifications_service.feed.updates import CHANGEABLE
from tests.contract.described import all_files, pool, sources, with_rules
from tests.contract.rendering import answers, comments_of, render
from users_service.users import messages

PROMISED = {
    "vibework.users.v1.UserService": (
        "CreateUser GetUser BatchGetUsers ListUsers CountUsers UpdateUser DeleteUser DisableUser EnableUser ImportUsers"
        " ExportUser WatchUsers"
    ),
    "vibework.users.v1.SessionService": (
        "SignUp SignIn CreateSession ValidateSession RefreshSession ListSessions RevokeSession RevokeOtherSessions"
        " RevokeAllSessions"
    ),
    "vibework.users.v1.AccountService": (
        "LinkAccount SignInWithAccount UnlinkAccount ListAccounts GetAccountTokens UpdateAccountTokens SetPassword"
        " ChangePassword"
    ),
    "vibework.users.v1.VerificationService": (
        "CreateVerification ConsumeVerification VerifyEmail ResetPassword ChangeEmail SignInWithVerification"
    ),
    "vibework.notifications.v1.NotificationService": (
        "CreateNotification BatchCreateNotifications GetNotification ListNotifications CountNotifications"
        " GetNotificationStats UpdateNotification MarkNotifications MarkAllNotifications DeleteNotification"
        " DeleteUserNotifications ListScheduledNotifications WatchNotifications"
    ),
    "vibework.notifications.v1.DeliveryService": (
        "SendDirect GetDelivery ListDeliveries CountDeliveries CancelDelivery RetryDelivery BatchCancelDeliveries"
        " BatchRetryDeliveries ReportDeliveryEvent ListSuppressions DeleteSuppression"
    ),
    "vibework.notifications.v1.PreferenceService": (
        "GetPreferences UpdatePreferences SetPreference Unsubscribe PutCategory ListCategories DeleteCategory"
        " GetPushKey RegisterPushSubscription ListPushSubscriptions DeletePushSubscription"
    ),
}
PACKAGES = (vibework.errors.v1, vibework.users.v1, vibework.notifications.v1)
RULES = "buf/validate/validate.proto"
UNBOUNDED_BY_NATURE = {"bool", "message"}
# A resource that updates take whole: the message whose rules hold for what the mask names, and what it may name.
MASKED_RULES = {
    ".vibework.notifications.v1.Notification": (".vibework.notifications.v1.NotificationContent", CHANGEABLE),
    ".vibework.users.v1.User": (".vibework.users.v1.CreateUserRequest", messages.CHANGEABLE),
}

Files = dict[str, FileDescriptorProto]


@pytest.mark.parametrize("name", sources())
def test_matches_its_golden_file(name: str, files: Files, golden: Callable[[str, str], None]) -> None:
    """No name, number, type, rule or promised status code changes unseen."""
    golden(f"{Path(name).parent.parent.name}_{Path(name).stem}.txt", render(files[name]))


def test_golden_files_are_those_of_the_protos(files: Files) -> None:
    """A .proto file that is removed takes its golden file along."""
    expected = {"reasons.txt"} | {f"{Path(name).parent.parent.name}_{Path(name).stem}.txt" for name in files}
    assert {path.name for path in (Path(__file__).parent / "golden").iterdir()} == expected


def test_every_promised_rpc_is_there_and_none_besides(files: Files) -> None:
    """The table of services and RPCs that callers were promised is complete."""
    found: dict[str, set[str]] = {}
    for service, method, _ in _methods(files):
        found.setdefault(service, set()).add(method.name)
    assert found == {service: set(names.split()) for service, names in PROMISED.items()}


def test_every_rpc_is_described(files: Files) -> None:
    """Each RPC says what it does, and with its service's comment which status codes it answers."""
    for service, method, comment in _methods(files):
        assert len(comment) > 15, f"{service}.{method.name} has no comment"
    for file in files.values():
        for number, described in enumerate(file.service):
            assert answers(comments_of(file)[6, number]), f"{described.name} names no status codes"


def test_messages_belong_to_one_rpc(files: Files) -> None:
    """No request or response is shared, so that each can grow on its own."""
    for service, method, _ in _methods(files):
        package = service.rsplit(".", 1)[0]
        assert method.input_type == f".{package}.{method.name}Request"
        assert method.output_type == f".{package}.{method.name}Response"
        assert not method.client_streaming


def test_every_bounded_request_field_has_a_rule(files: Files) -> None:
    """No string, number, list or enum of a request reaches a handler unlimited."""
    loose = [
        f"{message}.{field.name}"
        for message, field in _request_fields(files)
        if _kind(field) not in UNBOUNDED_BY_NATURE and "buf.validate" not in str(with_rules(field.options))
    ]
    assert loose == []


def test_what_an_update_changes_has_the_rules_of_a_creation(files: Files) -> None:
    """Each field that may be changed is a field of the message with the rules; what names the resource has its own."""
    known = dict(_messages(files))
    for resource, (rules, changeable) in MASKED_RULES.items():
        of_resource = {field.name: field for field in known[resource].field}
        of_rules = {field.name: field for field in known[rules].field}
        for name in changeable:
            assert (of_resource[name].type, of_resource[name].type_name) == (
                of_rules[name].type,
                of_rules[name].type_name,
            )
        for name in ("id", "etag"):
            assert "buf.validate" in str(with_rules(of_resource[name].options)), f"{resource}.{name}"


def test_a_rule_of_a_whole_message_names_the_field_at_fault(files: Files) -> None:
    """Its id begins with a field of the message, since protovalidate tells no more; and its reason is documented."""
    words = " ".join(comments_of(files["vibework/errors/v1/error_reason.proto"]).values())
    rules, found = pool().FindExtensionByName("buf.validate.message"), 0
    for name, message in _messages(files):
        options: Any = with_rules(message.options)
        for rule in options.Extensions[rules].cel:
            found += 1
            assert rule.id.partition(".")[0] in {field.name for field in message.field}, f"{name}: {rule.id}"
            assert f"`{rule.id.upper().replace('.', '_')}`" in words, rule.id
    assert found > 10


def test_secrets_are_marked(files: Files) -> None:
    """Whatever carries a secret is redacted from debug output."""
    words = ("password", "session_token", "code", "access_token", "refresh_token", "id_token")
    secret = {
        f"{message.name}.{field.name}": field.options.debug_redact
        for file in files.values()
        for message in file.message_type
        for field in message.field
        if field.name in words and _kind(field) in {"string", "bytes"}
    }
    assert len(secret) > 10
    assert [name for name, redacted in secret.items() if not redacted] == []


def test_stubs_are_those_of_the_protos(files: Files) -> None:
    """What callers import says the same as the .proto files."""
    pool = descriptor_pool.Default()
    for name, file in files.items():
        imported, written = FileDescriptorProto(), FileDescriptorProto()
        pool.FindFileByName(name).CopyToProto(imported)
        written.CopyFrom(file)
        written.ClearField("source_code_info")  # stubs carry no comments
        written.dependency[:] = [needed for needed in file.dependency if needed != RULES]
        assert render(imported) == render(written), name


def test_the_rules_in_the_tree_are_those_that_servers_enforce() -> None:
    """Callers who validate by the file of this repository accept and refuse what the servers do."""
    enforced = with_rules(FileDescriptorProto.FromString(validate_pb._DESC.proto.to_binary()))
    in_tree = with_rules(all_files()[RULES])
    for file in (enforced, in_tree):
        file.ClearField("source_code_info")
        file.ClearField("options")  # packages of other languages; those in the wheel are not the official ones
        file.DiscardUnknownFields()  # buf's own remarks
    assert in_tree == enforced


def test_every_file_has_a_package_in_every_language(files: Files) -> None:
    """Generators need no options from callers: names follow from the proto package as buf's managed mode has them."""
    for name, file in files.items():
        _, short, version = file.package.split(".")
        options, outer = file.options, "".join(part.capitalize() for part in Path(name).stem.split("_"))
        expected = FileOptions(
            csharp_namespace=f"Vibework.{short.capitalize()}.{version.capitalize()}",
            go_package=f"vibework/{short}/{version};{short}{version}",
            java_multiple_files=True,
            java_outer_classname=f"{outer}Proto",
            java_package=f"com.{file.package}",
            objc_class_prefix=f"V{short[0].upper()}X",
            php_namespace=f"Vibework\\{short.capitalize()}\\{version.capitalize()}",
            ruby_package=f"Vibework::{short.capitalize()}::{version.capitalize()}",
            swift_prefix=f"Vibework{short.capitalize()}{version.capitalize()}",
        )
        assert options == expected, name


def test_packages_export_everything(files: Files) -> None:
    """``from vibework.users.v1 import …`` reaches every message, enum, stub and servicer."""
    exported = {package.__name__: vars(package) for package in PACKAGES}
    for file in files.values():
        names = [message.name for message in file.message_type] + [enum.name for enum in file.enum_type]
        for service in file.service:
            names += [f"{service.name}Stub", f"{service.name}Servicer", f"add_{service.name}Servicer_to_server"]
        assert [name for name in names if name not in exported[file.package]] == []


def _methods(files: Files) -> Iterator[tuple[str, MethodDescriptorProto, str]]:
    for file in files.values():
        comments = comments_of(file)
        for number, service in enumerate(file.service):
            for position, method in enumerate(service.method):
                comment = comments.get((6, number, 2, position), "")
                yield f"{file.package}.{service.name}", method, comment


def _request_fields(files: Files) -> Iterator[tuple[str, FieldDescriptorProto]]:
    """Yield the fields of every request and of the messages of ours inside it.

    Of a resource that an update changes nothing is yielded: its fields keep the rules of a creation, by MASKED_RULES.
    """
    known = dict(_messages(files))
    waiting = [name for name in known if name.endswith("Request")]
    seen = set(MASKED_RULES)
    while waiting:
        if (name := waiting.pop()) in seen or name not in known:
            continue
        seen.add(name)
        for field in known[name].field:
            waiting.append(field.type_name)
            yield name.rsplit(".", 1)[1], field


def _messages(files: Files) -> Iterator[tuple[str, DescriptorProto]]:
    for file in files.values():
        for message in file.message_type:
            yield f".{file.package}.{message.name}", message
            for inner in message.nested_type:
                # Keys and values of a map have their rules at the map.
                if not inner.options.map_entry:
                    yield f".{file.package}.{message.name}.{inner.name}", inner


def _kind(field: FieldDescriptorProto) -> str:
    return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
