"""Rules as they are encoded: read as the .proto declares them, whatever else a process has of `buf.validate`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import pytest
from google.protobuf.descriptor import FieldDescriptor
from vibework.notifications.v1 import notification_pb2
from vibework.notifications.v1 import notification_service_pb2 as notifications_pb2
from vibework.users.v1 import session_service_pb2 as sessions_pb2
from vibework.users.v1 import user_pb2
from vibework.users.v1 import user_service_pb2 as users_pb2

from chassis.interceptors import encoded_rules
from chassis.interceptors.encoded_rules import (
    enum_values,
    expressions,
    has_rules,
    ignores_items,
    is_just_required,
    lengths,
)
from tests.contract.described import pool
from tests.harness.foreign_rules import FOREIGN_RULES

RULES: Final = "buf.validate"


def field(message: Any, name: str) -> FieldDescriptor:
    """Return a field of a message."""
    found: FieldDescriptor = message.DESCRIPTOR.fields_by_name[name]
    return found


def test_numbers_are_those_of_the_declaration() -> None:
    """The few numbers that are read are written once more in the code, so they are compared with the official file."""
    assert {pool().FindExtensionByName(f"{RULES}.{name}").number for name in ("message", "oneof", "field")} == {
        encoded_rules.RULES
    }
    assert pool().FindMessageTypeByName(f"{RULES}.FieldRules").fields_by_name["string"].number == encoded_rules.STRING
    of_fields = pool().FindMessageTypeByName(f"{RULES}.FieldRules").fields_by_name
    assert (of_fields["enum"].number, of_fields["required"].number) == (encoded_rules.ENUM, encoded_rules.REQUIRED)
    assert of_fields["map"].number == encoded_rules.MAP
    most = [
        pool().FindMessageTypeByName(f"{RULES}.{kind}").fields_by_name[name].number
        for kind, name in (("RepeatedRules", "max_items"), ("MapRules", "max_pairs"))
    ]
    assert most == [encoded_rules.MOST] * 2
    enums = pool().FindMessageTypeByName(f"{RULES}.EnumRules").fields_by_name
    numbers = (enums["defined_only"].number, enums["not_in"].number)
    assert numbers == (encoded_rules.DEFINED_ONLY, encoded_rules.NOT_IN)
    assert pool().FindMessageTypeByName(f"{RULES}.MessageRules").fields_by_name["cel"].number == encoded_rules.CEL
    of_rule = pool().FindMessageTypeByName(f"{RULES}.Rule").fields_by_name
    assert of_rule["expression"].number == encoded_rules.EXPRESSION
    strings = pool().FindMessageTypeByName(f"{RULES}.StringRules").fields_by_name
    assert (strings["min_len"].number, strings["max_len"].number) == (encoded_rules.MIN_LEN, encoded_rules.MAX_LEN)


@pytest.mark.parametrize(
    ("described", "read"),
    [
        (field(sessions_pb2.ValidateSessionRequest, "session_token"), (1, 256)),
        (field(users_pb2.CreateUserRequest, "name"), (0, 255)),
        (field(users_pb2.CreateUserRequest, "email"), None),  # a format as well
        (field(users_pb2.CreateUserRequest, "image"), None),  # rules that an empty value need not keep
        (field(user_pb2.ClientContext, "user_agent"), None),  # bytes, not characters
        (field(users_pb2.BatchGetUsersRequest, "ids"), None),  # a list
        (field(user_pb2.User, "name"), None),  # no rules
    ],
)
def test_only_lengths_are_lengths(described: FieldDescriptor, read: tuple[int, int] | None) -> None:
    """A field with any rule but lengths is not for the shortcut to judge."""
    assert lengths(described) == read


def test_values_of_enums_what_is_required_and_conditions() -> None:
    """Rules of other kinds are read as declared, and are none where the field has others as well."""
    content = notification_pb2.NotificationContent
    assert enum_values(field(content, "type")) == frozenset({1, 2, 3})
    assert enum_values(field(content, "urgency")) == frozenset(range(5))
    assert enum_values(field(content, "channels")) is None
    assert is_just_required(field(notifications_pb2.CreateNotificationRequest, "content"))
    assert not is_just_required(field(content, "title"))
    assert [text[:10] for text in expressions(content.DESCRIPTOR) or ()] == ["!has(this.", "!has(this.", "!has(this."]
    assert expressions(user_pb2.User.DESCRIPTOR) == []


def test_says_what_has_rules() -> None:
    """Messages, oneofs and fields are asked alike."""
    assert has_rules(field(users_pb2.CreateUserRequest, "email"))
    assert not has_rules(field(user_pb2.User, "email"))
    assert has_rules(notifications_pb2.BatchCreateNotificationsRequest.DESCRIPTOR.oneofs_by_name["batch"])
    assert not has_rules(user_pb2.User.DESCRIPTOR)


def test_items_that_are_ignored() -> None:
    """Of the lists of the contract, that of the users to be imported alone is judged item by item."""
    assert ignores_items(field(users_pb2.ImportUsersRequest, "users"))
    assert not ignores_items(field(users_pb2.BatchGetUsersRequest, "ids"))
    assert not ignores_items(field(users_pb2.GetUserRequest, "id"))


# Prints what is refused, and whether the shortcut was taken, with and without other rules in the process.
VALIDATE: Final = """
from vibework.users.v1.session_service_pb2 import ValidateSessionRequest
from vibework.users.v1.user_service_pb2 import CreateUserRequest
from chassis.errors import InvalidFields
from chassis.interceptors.plain_rules import shortcut
from chassis.interceptors.validation import check_of

try:
    check_of(CreateUserRequest)(CreateUserRequest(email="nobody", name="x" * 256))
except InvalidFields as invalid:
    print(*sorted(item.reason for item in invalid.violations))
print(shortcut(ValidateSessionRequest.DESCRIPTOR)(ValidateSessionRequest(session_token="a" * 257)))
"""


@pytest.mark.parametrize("code", [VALIDATE, FOREIGN_RULES + VALIDATE, VALIDATE.replace("try:", FOREIGN_RULES + "try:")])
def test_rules_of_others_change_nothing(code: str) -> None:
    """A server validates the same if something in its process has another version of `buf.validate`."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.returncode) == ("STRING_EMAIL STRING_MAX_LEN\nFalse\n", 0), ran.stderr
