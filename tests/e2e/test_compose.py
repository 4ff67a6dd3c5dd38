"""The compose stack, brought up from nothing as a newcomer does, used by stubs, and taken down."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.request import urlopen

import grpc
import pytest
import yaml
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from vibework.notifications.v1 import (
    NOTIFICATION_TYPE_EMAIL,
    NOTIFICATION_TYPE_IN_APP,
    CreateNotificationRequest,
    ListNotificationsRequest,
    NotificationContent,
    NotificationServiceStub,
)
from vibework.users.v1 import (
    CreateUserRequest,
    GetUserRequest,
    SessionServiceStub,
    SignInRequest,
    SignUpRequest,
    UserServiceStub,
    ValidateSessionRequest,
)

from chassis.backup.reading import Archive
from tests.e2e.compose_stack import ROOT, UP_SECONDS, Stack
from tests.harness.patience import PATIENCE_SECONDS, wait_for

HEALTH = "/usr/local/bin/health"

pytestmark = [pytest.mark.containers, pytest.mark.timeout(UP_SECONDS + 120), pytest.mark.xdist_group("compose")]

CONTENT = NotificationContent(title="Hello", message="x", type=NOTIFICATION_TYPE_IN_APP)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """The stack, up; at the end nothing of it is left, image included."""
    stack = Stack()
    try:
        stack.compose("up", "--wait", "--quiet-pull")
        yield stack
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--timeout", "10", check=False)
        subprocess.run(["docker", "image", "rm", f"vibework-services:{stack.name}"], capture_output=True, check=False)


def test_the_gateway_answers_in_json(stack: Stack) -> None:
    """It comes by its profile, in front of the services that run, and tells when both serve."""
    stack.compose("--profile", "gateway", "up", "--wait", "gateway")
    method, port = "vibework.users.v1.UserService/CountUsers", stack.gateway_port
    with urlopen(f"http://127.0.0.1:{port}/{method}", data=b"{}", timeout=PATIENCE_SECONDS) as answer:
        assert set(json.load(answer)) == {"count"}
    with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=PATIENCE_SECONDS) as answer:
        assert answer.status == 200


def test_readme_session(stack: Stack) -> None:
    """A user signs up, signs in, is recognised, and finds a notification in the feed."""
    email, password = f"{stack.name}@example.com", "correct horse battery"
    with (
        grpc.insecure_channel(f"127.0.0.1:{stack.users_port}") as users,
        grpc.insecure_channel(f"127.0.0.1:{stack.notifications_port}") as notifications,
    ):
        sessions, feed = SessionServiceStub(users), NotificationServiceStub(notifications)
        user = sessions.SignUp(SignUpRequest(email=email, password=password, name="Ann"), timeout=PATIENCE_SECONDS).user
        token = sessions.SignIn(SignInRequest(email=email, password=password), timeout=PATIENCE_SECONDS).session_token
        validated = sessions.ValidateSession(ValidateSessionRequest(session_token=token), timeout=PATIENCE_SECONDS)
        assert validated.session.user_id == user.id
        create = CreateNotificationRequest(user_id=user.id, content=CONTENT)
        created = feed.CreateNotification(create, timeout=PATIENCE_SECONDS).notification
        listed = feed.ListNotifications(
            ListNotificationsRequest(user_id=user.id), timeout=PATIENCE_SECONDS
        ).notifications
        assert [item.id for item in listed] == [created.id]


def test_services_reach_each_other(stack: Stack) -> None:
    """The notifications service asks the users service, and hears that a stranger is none of its users."""
    with grpc.insecure_channel(f"127.0.0.1:{stack.notifications_port}") as channel:
        create = CreateNotificationRequest(user_id="user_stranger", content=CONTENT)
        with pytest.raises(grpc.RpcError) as refused:
            NotificationServiceStub(channel).CreateNotification(create, timeout=PATIENCE_SECONDS)
    status = rpc_status.from_call(cast("grpc.Call", refused.value))
    info = error_details_pb2.ErrorInfo()
    assert status is not None
    assert status.details[0].Unpack(info)
    assert info.reason == "RECIPIENT_NOT_FOUND"


def test_what_is_mailed_is_shown_on_this_machine(stack: Stack) -> None:
    """A newcomer sees the mail of a notification, which leaves for nobody."""
    address = f"{stack.name}-mail@example.com"
    with grpc.insecure_channel(f"127.0.0.1:{stack.users_port}") as channel:
        create_user = CreateUserRequest(email=address, email_verified=True)
        user = UserServiceStub(channel).CreateUser(create_user, timeout=PATIENCE_SECONDS).user
    content = NotificationContent(title="Shown in Mailpit", message="x", type=NOTIFICATION_TYPE_EMAIL)
    with grpc.insecure_channel(f"127.0.0.1:{stack.notifications_port}") as channel:
        create = CreateNotificationRequest(user_id=user.id, content=content)
        NotificationServiceStub(channel).CreateNotification(create, timeout=PATIENCE_SECONDS)

    def arrived() -> list[tuple[str, str]]:
        with urlopen(f"http://127.0.0.1:{stack.mailpit_port}/api/v1/messages", timeout=PATIENCE_SECONDS) as answer:
            return [(each["To"][0]["Address"], each["Subject"]) for each in json.load(answer)["messages"]]

    wait_for(lambda: (address, "Shown in Mailpit") in arrived(), "the mail to be shown")


@pytest.mark.parametrize("service", ["users", "notifications"])
def test_commands_of_the_runbook_run_in_the_containers(stack: Stack, service: str) -> None:
    """On call, status and probe work where the service runs, and its account may look at all that there is."""
    assert stack.compose("exec", "-T", service, "python", "-m", "chassis.probe").strip() == "SERVING"
    status = json.loads(stack.compose("exec", "-T", service, f"{service}-service", "status", "--json"))
    assert status["ok"] is True
    assert status["not_looked_at"] == {}
    assert status["sections"][{"users": "binary_log", "notifications": "oplog"}[service]]["rows"]


@pytest.mark.parametrize("service", ["users", "notifications"])
def test_a_backup_leaves_the_container_as_a_stream_and_comes_back(stack: Stack, service: str, tmp_path: Path) -> None:
    """What the documents say: `exec … backup -` into a file, and from it a restore, here into the drills' database."""
    path = tmp_path / "x.backup"
    with path.open("wb") as file:
        backing_up = ["exec", "-T", service, f"{service}-service", "backup", "-"]
        assert stack.piped(backing_up, stdout=file).returncode == 0
    archive = Archive(path)
    archive.verify()
    assert archive.manifest.position is not None
    restoring = [f"{service}-service", "restore", "-", "--drill", "--database", "vibe_drill"]
    with path.open("rb") as file:
        done = stack.piped(["run", "--rm", "-T", "--no-deps", service, *restoring], stdin=file, stdout=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    assert b"restored into" in done.stdout


def test_daily_backups_are_taken_and_restored(stack: Stack) -> None:
    """The profile is healthy once both databases are backed up and both backups were restored."""
    backups = ("users-backup", "notifications-backup")
    stack.compose("--profile", "backups", "up", "--wait", *backups)
    for service in backups:
        name = service.removesuffix("-backup")
        files = stack.compose("exec", "-T", service, "ls", "/backups").split()
        assert [re.sub(r"\d", "9", file) for file in files] == [f"{name}-service-99999999T999999Z.backup"]
        log = stack.compose("logs", "--no-color", service)
        assert "compared, and emptied again (--drill)" in log


def test_metrics_are_where_prometheus_looks(stack: Stack) -> None:
    """From another container of their network, both services tell their metrics, under the config's names."""
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yaml").read_text())
    looked_up = [found for job in config["scrape_configs"] for found in job["dns_sd_configs"]]
    addresses = {f"{found['names'][0]}:{found['port']}" for found in looked_up}
    assert addresses == {"users:9464", "notifications:9465"}
    for address in addresses:
        read = (
            f"from urllib import request; print(request.urlopen('http://{address}/metrics', timeout=5).read().decode())"
        )
        assert "\nvibework_serving 1" in stack.compose("exec", "-T", "users", "python", "-c", read)


def test_only_the_services_are_published_and_to_this_machine_only(stack: Stack) -> None:
    """No database can be reached from outside of its network, whatever its password."""
    published = {
        service: {port["HostIp"] for ports in bindings.values() for port in ports or ()}
        for service in ("mysql", "mongodb", "users", "notifications", "mailpit")
        if (bindings := stack.inspect(service)["HostConfig"]["PortBindings"] or {})
    }
    assert published == {service: {"127.0.0.1"} for service in ("users", "notifications", "mailpit")}


def test_services_run_confined_and_without_secrets_in_sight(stack: Stack) -> None:
    """A service is not root, cannot write to its image, and its configuration shows no secret."""
    for service in ("users", "notifications"):
        described = stack.inspect(service)
        config, host = described["Config"], described["HostConfig"]
        assert (config["User"], host["ReadonlyRootfs"], host["CapDrop"]) == ("10001:10001", True, ["ALL"])
        names = {line.split("=")[0] for line in config["Env"]}
        assert names & {"MYSQL_PASSWORD", "MONGODB_URL", "SECRET_KEYS"} == set()


def test_the_health_of_the_containers_follows_the_database(stack: Stack) -> None:
    """Asked by a shell at the port of the metrics, as by gRPC: healthy while the server is SERVING, and only then."""
    for service in ("users", "notifications"):
        config = stack.inspect(service)["Config"]
        assert config["Healthcheck"]["Test"] == ["CMD", HEALTH]
        assert stack.compose("exec", "-T", service, HEALTH) == "200 OK\n"
    stack.compose("stop", "mysql")
    wait_for(
        lambda: stack.compose("exec", "-T", "users", HEALTH, check=False).startswith("503 "), "a container that is ill"
    )
    assert stack.compose("exec", "-T", "users", "python", "-m", "chassis.probe", check=False).strip() == "NOT_SERVING"
    stack.compose("up", "--wait")
    assert stack.compose("exec", "-T", "users", HEALTH) == "200 OK\n"


@pytest.mark.parametrize("service", ["mysql", "mongodb", "users", "notifications"])
def test_no_container_takes_the_machine(stack: Stack, service: str) -> None:
    """Memory and processes end somewhere, and no program gains powers that its container was not given."""
    host = stack.inspect(service)["HostConfig"]
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges:true"])
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0


def test_second_start_keeps_data_and_secrets(stack: Stack) -> None:
    """A stack that was down and is up again knows its users, and its secrets are those of before."""
    email, password = "kept@example.com", "correct horse battery"
    with grpc.insecure_channel(f"127.0.0.1:{stack.users_port}") as channel:
        SessionServiceStub(channel).SignUp(SignUpRequest(email=email, password=password), timeout=PATIENCE_SECONDS)
    stack.compose("down", "--timeout", "20")
    stack.compose("up", "--wait")
    with grpc.insecure_channel(f"127.0.0.1:{stack.users_port}") as channel:
        signed_in = SessionServiceStub(channel).SignIn(
            SignInRequest(email=email, password=password), timeout=PATIENCE_SECONDS
        )
    assert signed_in.session_token


def test_a_backup_comes_back_into_new_databases_as_documented(stack: Stack, tmp_path: Path) -> None:
    """The lines of docs/backups.md, typed one after the other, bring a lost stack back with its users."""
    text = (ROOT / "docs" / "backups.md").read_text()
    (typed,) = re.findall(r"<!-- tested: compose -->\n```sh\n(.*?)```", text, re.DOTALL)
    email = "back@example.com"
    with grpc.insecure_channel(f"127.0.0.1:{stack.users_port}") as channel:
        SessionServiceStub(channel).SignUp(
            SignUpRequest(email=email, password="correct horse battery"), timeout=PATIENCE_SECONDS
        )
    done = subprocess.run(
        ["bash", "-e", "-c", typed.replace("vibework_", f"{stack.name}_")],
        cwd=tmp_path,
        env={**stack.environment, "COMPOSE_FILE": str(ROOT / "docker-compose.yml")},
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{stack.logs()}"
    with grpc.insecure_channel(f"127.0.0.1:{stack.users_port}") as channel:
        assert (
            UserServiceStub(channel).GetUser(GetUserRequest(email=email), timeout=PATIENCE_SECONDS).user.email == email
        )


def test_sigterm_drains(stack: Stack) -> None:
    """``docker stop`` ends both services by their own drain, not by the engine's kill."""
    stack.compose("stop", "users", "notifications")
    for service in ("users", "notifications"):
        assert stack.inspect(service)["State"]["ExitCode"] == 0
        ends = [event for event in stack.events(service) if event in {"draining", "stopped"}]
        assert ends[-2:] == ["draining", "stopped"]


@pytest.fixture(scope="module")
def databases(stack: Stack) -> Iterator[Stack]:
    """A stack of the databases only, with the image of the other."""
    only = Stack(tag=stack.name)
    try:
        only.compose("up", "--wait", "--scale", "databases=1", "databases")
        yield only
    finally:
        only.compose("--profile", "*", "down", "--volumes", "--timeout", "10", check=False)


def test_databases_alone_are_published_to_this_machine(databases: Stack) -> None:
    """``up databases`` runs no service of ours, and opens both databases on loopback alone."""
    running = set(databases.compose("ps", "--services").split())
    assert running == {"mysql", "mongodb", "databases"}
    bindings = databases.inspect("databases")["HostConfig"]["PortBindings"]
    published = {(port["HostIp"], port["HostPort"]) for ports in bindings.values() for port in ports}
    assert published == {("127.0.0.1", str(databases.mysql_port)), ("127.0.0.1", str(databases.mongodb_port))}


@pytest.mark.parametrize("account", [(), ("--root",)], ids=["vibework", "root"])
def test_commands_beside_the_containers_use_the_published_databases(databases: Stack, account: tuple[str, ...]) -> None:
    """The settings that the container prints are all that the commands need, for either account."""
    printed = databases.compose("exec", "-T", "databases", "/databases.py", "settings", *account)
    settings = dict(re.findall(r"^export (\w+)='(.*)'$", printed, re.MULTILINE))
    environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "client")])}
    for package in ("users_service", "notifications_service"):
        command = [sys.executable, "-m", package, "migrate", "up"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("which", "profiles"), [("stack", ("--profile", "*")), ("databases", ())])
def test_down_leaves_nothing(which: str, profiles: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    """`docker compose down -v`, as the README says it, takes down all that was brought up, with secrets and backups.

    Compose knows nothing of a profile that is not named: the stack has one by now, `backups`; the databases have none.
    """
    brought: Stack = request.getfixturevalue(which)
    assert brought.left()
    brought.compose(*profiles, "down", "--volumes", "--timeout", "10")
    assert brought.left() == []
