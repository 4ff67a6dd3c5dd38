"""Both services as the commands that people run, used exactly as the README says."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, json_format, message_factory
from vibework.testing.local import mail
from vibework.testing.local.ports import free_port

from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.mails import ENVIRONMENT, Mails, catching
from tests.harness.pair import running_pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for

README = (Path(__file__).parents[2] / "README.md").read_text()
USERS, NOTIFICATIONS = "127.0.0.1:50051", "127.0.0.1:50052"


@pytest.fixture(scope="module")
def mails(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mails]:
    """Catch mails as script/server does."""
    with catching(tmp_path_factory.mktemp("local"), free_port()) as caught:
        yield caught


@pytest.fixture(scope="module")
def here(
    mysql_module_database: MySQLDatabase, mongodb_module_database: MongoDatabase, mails: Mails
) -> Iterator[dict[str, str]]:
    """For each address in the README the one at which its service is here."""
    settings = mail.settings(mails.port)
    with running_pair(mysql_module_database, mongodb_module_database, **settings) as pair:
        yield {USERS: pair.users, NOTIFICATIONS: pair.notifications}


def blocks(language: str) -> list[str]:
    """Return the README's blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def grpcurl_calls() -> list[list[str]]:
    """Return the arguments of the README's grpcurl calls that carry data: data, address, method."""
    joined = "\n".join(blocks("sh")).replace("\\\n", " ")
    calls = [shlex.split(line) for line in joined.splitlines() if line.startswith("grpcurl") and " -d " in line]
    return [[call[call.index("-d") + 1], *call[call.index("-d") + 2 :][:2]] for call in calls]


def call(address: str, method: str, data: str) -> dict[str, Any]:
    """Make a call as grpcurl does: by name, with JSON both ways."""
    service_name, _, method_name = method.rpartition("/")
    descriptor = descriptor_pool.Default().FindServiceByName(service_name).methods_by_name[method_name]
    request = json_format.Parse(data, message_factory.GetMessageClass(descriptor.input_type)())
    answer: Any = message_factory.GetMessageClass(descriptor.output_type)
    with grpc.insecure_channel(address) as channel:
        invoke: Any = channel.unary_unary(
            f"/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return json_format.MessageToDict(invoke(request, timeout=PATIENCE_SECONDS), preserving_proto_field_name=True)


def test_the_session_of_the_readme_works_as_printed(here: dict[str, str], mails: Mails) -> None:
    """Who types the README's calls makes a user, signs in, sends and reads a message, proves the address by a code."""
    answers: dict[str, dict[str, Any]] = {}
    known: dict[str, str] = {}
    for data, address, method in grpcurl_calls():
        name = method.rpartition("/")[2]
        if name == "SignUp":  # shown for its mistakes
            with pytest.raises(grpc.RpcError) as refused:
                call(here[address], method, data)
            assert "invalid fields: email, password" in str(refused.value)
            continue
        answers[name] = call(here[address], method, Template(data).substitute(known))
        if name == "CreateVerification":
            # As the README takes it out of what script/mail prints.
            (known["CODE"],) = re.findall(r"\b[0-9]{6}\b", mails.shown())
        if name == "SignIn":
            known = {"TOKEN": answers[name]["session_token"], "USER_ID": answers[name]["user"]["id"]}
    assert answers["ValidateSession"]["session"]["user_id"] == answers["CreateUser"]["user"]["id"]
    listed = answers["ListNotifications"]["notifications"]
    assert [item["id"] for item in listed] == [answers["CreateNotification"]["notification"]["id"]]

    assert "secret" not in answers["CreateVerification"]
    assert answers["VerifyEmail"]["user"]["email_verified"]

    # The user of the examples exists now.
    (printed,) = [run_example(example, here) for example in blocks("python")]
    assert printed.startswith(f"{known['USER_ID']} Ada\nUSER_NOT_FOUND nobody\n")
    assert "snapshot_end" in printed

    deleted = call(here[USERS], "vibework.users.v1.UserService/DeleteUser", json.dumps({"id": known["USER_ID"]}))
    assert deleted == {"deleted_sessions": "1", "deleted_accounts": "1"}
    feed = "vibework.notifications.v1.NotificationService/ListNotifications"
    listing = json.dumps({"user_id": known["USER_ID"]})
    wait_for(
        lambda: "notifications" not in call(here[NOTIFICATIONS], feed, listing),
        "the deletion of the user's notifications",
    )


def run_example(example: str, here: Mapping[str, str]) -> str:
    """Run one of the README's Python examples against the services here and return what it prints."""
    for written, address in here.items():
        example = example.replace(written, address)
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
