"""Secrets of settings and of calls reach no log, audit log, metric, trace, command line, manifest, error or core."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import bcrypt
import grpc
import pymongo
import pytest
from aiosmtpd.smtp import AuthResult, LoginPassword
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1.session_service_pb2 import SignUpRequest

from chassis.backup.manifest import NAME as MANIFEST
from tests.contract.requests import NOTIFICATIONS, PASSWORD, PROVIDER, USERS
from tests.e2e.places import metrics, said
from tests.e2e.planting import (
    FORMS,
    Caller,
    CommandLines,
    Secrets,
    names_of_secret_files,
    names_of_secrets,
    planted_key,
    secret_paths,
)
from tests.e2e.script_server import running as script_server
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MongoDatabase, MySQLDatabase, run_mysql
from tests.harness.issuer import AUDIENCE, ISSUER, Issuer, key_set
from tests.harness.pair import SeparatePair, separate_pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.push_service import Browser, Certificate, PushService, Received, certificate, push_service
from tests.harness.relay import Relay, running
from tests.harness.users import BlockingStubs
from tests.harness.workers import children, environment, healthy, own_channel, serving
from tests.integration.telemetry.collector import Collector, collecting

pytestmark = pytest.mark.timeout(1_200)

EMAIL: Final = "ann@example.com"
URL: Final = "https://app.example.com/in/"
RETURNED: Final = "VERIFICATION_DELIVERY_RETURN_CODE"
SENT: Final = "VERIFICATION_DELIVERY_SEND_CODE"
# Of the commands, besides `serve`, `deliver`, `backup` and `restore`, those that read or write secrets, or tell much.
COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "users_service": ("migrate status", "status", "outbox list", f"user show {EMAIL}", "rotate-keys"),
    "notifications_service": ("migrate up", "status", "deliveries list"),
}


@dataclass(frozen=True)
class Far:
    """What the pair talks to, and the ports of its metrics."""

    relay: Relay
    keys: PushService
    push: PushService
    collector: Collector
    pem: Certificate
    users_metrics: int
    notifications_metrics: int


@dataclass(frozen=True)
class Run:
    """The planted secrets, the settings that hold them, and where what is said goes."""

    secrets: Secrets
    settings: Mapping[str, str]
    issuer: Issuer
    lines: CommandLines
    folder: Path

    @property
    def log(self) -> Path:
        """What both servers log."""
        return self.folder / "log"

    @property
    def audits(self) -> Mapping[str, Path]:
        """The audit log of each package."""
        return {package: self.folder / f"{package}.audit" for package in COMMANDS}


Databases = tuple[MySQLDatabase, MongoDatabase]


@pytest.fixture
def migrated(mysql_database: MySQLDatabase, mongodb_database: MongoDatabase) -> Databases:
    """The databases of the pair."""
    return mysql_database, mongodb_database


@pytest.fixture
def empty(mysql_empty_database: MySQLDatabase, mongodb_empty_database: MongoDatabase) -> Databases:
    """The databases that backups are restored into."""
    return mysql_empty_database, mongodb_empty_database


@contextmanager
def own_accounts(databases: Databases, planted: Secrets) -> Iterator[Databases]:
    """Make accounts whose passwords are known, and drop them afterwards."""
    mysql, mongodb = databases
    server = MySQLServer(mysql.host, mysql.port, mysql.user, mysql.password)
    name, password = f"planted_{os.getpid()}", f"planted-{secrets.token_hex(12)}"
    planted.add("password of the databases", password)
    parts = urlsplit(mongodb.url)
    netloc = f"{name}:{password}@{parts.netloc.rpartition('@')[2]}"
    query = "&".join(filter(None, [parts.query, "authSource=admin"]))
    url = urlunsplit(parts._replace(netloc=netloc, query=query))
    with ExitStack() as ending:
        client = ending.enter_context(pymongo.MongoClient[dict[str, Any]](mongodb.url))
        client.admin.command("createUser", name, pwd=password, roles=["root"])
        ending.callback(client.admin.command, "dropUser", name)
        grant = f"GRANT ALL PRIVILEGES ON *.* TO '{name}'@'%'"
        run_mysql(server, [f"CREATE USER '{name}'@'%' IDENTIFIED BY '{password}'", grant])
        ending.callback(run_mysql, server, [f"DROP USER '{name}'@'%'"])
        yield replace(mysql, user=name, password=password), replace(mongodb, url=url)


def planted_run(folder: Path, pem: Certificate) -> Run:
    """Plant a secret in every setting that is one, and in every file that holds one."""
    planted, issuer, settings = Secrets(), Issuer(), dict[str, str]()
    for name in sorted(set(names_of_secrets()) - {"mysql_password", "mongodb_url"}):
        secret = planted_key(FORMS[name]) if name in FORMS else f"planted-{secrets.token_hex(12)}"
        settings[name.upper()] = f"planted:{secret}" if name in FORMS else secret
        planted.add(name, secret)
    private, public = pem.file.read_text().split("-----BEGIN CERTIFICATE-----")
    for name in names_of_secret_files():
        file = folder / name
        file.write_text(private if name.endswith("_key_file") else issuer.token(name.replace("_", "-")))
        settings[name.upper()] = str(file)
        for line in file.read_text().splitlines():
            if not line.startswith("-----"):
                planted.add(f"content of {name}", line)
        if name.endswith("_key_file"):
            certificate_file = folder / name.replace("_key_", "_cert_")
            certificate_file.write_text(f"-----BEGIN CERTIFICATE-----{public}")
            settings[certificate_file.name.upper()] = str(certificate_file)
    return Run(planted, settings, issuer, CommandLines(folder), folder)


def settings_of(run: Run, far: Far) -> dict[str, str]:
    """Return the settings of both services: the planted ones, and what makes them tell all they can."""
    return {
        **run.settings,
        "PYTHONPATH": os.pathsep.join([str(run.folder), *sys.path]),
        "PEER_TLS_CA_FILE": str(far.pem.file),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "JWKS_URL": f"https://{far.keys.address}/keys",
        "JWKS_CA_FILE": str(far.pem.file),
        "SMTP_HOST": LOOPBACK,
        "SMTP_PORT": str(far.relay.port),
        "SMTP_CA_FILE": str(far.pem.file),
        "SMTP_USER": "planted",
        "EMAIL_FROM": "no-reply@vibework.example",
        "EMAIL_UNVERIFIED": "send",
        "UNSUBSCRIBE_URL": "https://app.example.com/unsubscribe?t={token}",
        "WEB_PUSH_SUBJECT": "mailto:ops@example.com",
        "WEB_PUSH_ALLOW_LOOPBACK": "true",
        "SSL_CERT_FILE": str(far.pem.file),
        "VERIFICATION_URLS": f"sign_in={URL}{{token}},password_reset={URL}{{token}}",
        "NOTICES": "welcome",
        "LOG_LEVEL": "debug",
        "SLOW_QUERY_MS": "1",
        "AUDIT_LOG": "file",
        "OUTBOX_POLL_MS": "50",
        "OTEL_EXPORTER_OTLP_ENDPOINT": far.collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
    }


def sign_in_and_out(call: Caller) -> str:
    """Use every secret of a user's life as it is meant, wrongly as well; return the user's id."""
    signed_up = call("SessionService/SignUp", {"email": EMAIL, "password": "Planted password 1"})
    user, token = signed_up.user.id, signed_up.session_token
    call.refused("SessionService/SignIn", {"email": EMAIL, "password": "Planted wrong password"})
    call("SessionService/SignIn", {"email": EMAIL, "password": "Planted password 1"})
    call("SessionService/ValidateSession", {"sessionToken": token})
    token = call("SessionService/RefreshSession", {"sessionToken": token}).session_token
    call("SessionService/ListSessions", {"userId": user, "currentSessionToken": token})
    tokens = {name: f"PLANTED{secrets.token_hex(16)}" for name in ("accessToken", "refreshToken", "idToken")}
    account = {**PROVIDER, "tokens": tokens}
    linked = call("AccountService/LinkAccount", {"userId": user, "account": account}).account.id
    assert call("AccountService/GetAccountTokens", {"userId": user, "id": linked}).tokens.access_token
    change = {"currentPassword": "Planted password 1", "newPassword": "Planted password 2", "sessionToken": token}
    call("AccountService/ChangePassword", {"userId": user, **change})
    wanted = {"identifier": EMAIL, "delivery": RETURNED}
    code = call(
        "VerificationService/CreateVerification",
        {**wanted, "purpose": "VERIFICATION_PURPOSE_SIGN_IN", "kind": "VERIFICATION_KIND_CODE"},
    ).secret
    by_code = {"secret": {"code": {"identifier": EMAIL, "code": code}}}
    call("VerificationService/SignInWithVerification", by_code)
    reset = call(
        "VerificationService/CreateVerification",
        {**wanted, "purpose": "VERIFICATION_PURPOSE_PASSWORD_RESET", "kind": "VERIFICATION_KIND_TOKEN"},
    ).secret
    by_token = {"secret": {"token": reset}, "newPassword": "Planted password 3"}
    call("VerificationService/ResetPassword", by_token)
    call.refused("VerificationService/ResetPassword", by_token)
    call(
        "VerificationService/CreateVerification",
        {
            "identifier": EMAIL,
            "delivery": SENT,
            "purpose": "VERIFICATION_PURPOSE_SIGN_IN",
            "kind": "VERIFICATION_KIND_TOKEN",
        },
    )
    stored = bcrypt.hashpw(b"Planted password 4", bcrypt.gensalt(4)).decode()
    imported = {"id": "imported-1", "email": "bob@example.com", "passwordHash": stored}
    call("UserService/ImportUsers", {"users": [imported]})
    call("SessionService/SignIn", {"email": "bob@example.com", "password": "Planted password 4"})
    return str(user)


def notify(call: Caller, user: str, browser: Browser) -> None:
    """Register a browser, and send a mail with a code; both hold secrets."""
    keys = {name: base64.b64encode(getattr(browser, name)).decode() for name in ("p256dh", "auth")}
    registered = {"userId": user, "webPush": {**keys, "endpoint": browser.endpoint, "keyId": browser.key_id}}
    call("PreferenceService/RegisterPushSubscription", registered)
    direct, _ = NOTIFICATIONS["DeliveryService/SendDirect"]
    template = {"purpose": "sign_in", "variables": {"code": f"PLANTED{secrets.token_hex(8)}"}}
    call("DeliveryService/SendDirect", {**direct, "template": template})


def secrets_of_mails(relay: Relay, planted: Secrets) -> None:
    """Wait for the mails, and keep the tokens in their links."""
    wait_for(lambda: len(relay.mails) >= 3, "the mails")
    text = "".join(mail.content.decode().replace("=\r\n", "").replace("=3D", "=") for mail in relay.mails)
    found = re.findall(rf"{re.escape(URL)}[\w-]+\.([\w-]+)", text)
    assert found
    for token in found:
        planted.add("token that was mailed", token)


def run_commands(run: Run, sides: SeparatePair, empty: Databases) -> dict[str, str]:
    """Run what operators run; return what the commands say, and the manifests of the backups."""
    texts, manifests = list[str](), list[str]()
    of_empty = {"users_service": empty[0].environment(), "notifications_service": empty[1].environment()}
    for side in (sides.users, sides.notifications):
        tell = partial(said, {**side.settings, "GRPC_PORT": "0"}, side.package)
        file = run.folder / side.package
        texts += [tell(*command.split()) for command in COMMANDS[side.package]]
        texts.append(tell("backup", str(file)))
        with tarfile.open(file) as archive:
            held = archive.extractfile(MANIFEST)
            assert held is not None
            manifests.append(held.read().decode())
        texts.append(said({**side.settings, **of_empty[side.package]}, side.package, "restore", str(file)))
    texts.append(said(sides.users.settings, "chassis.probe", sides.users.address))
    return {"commands": "".join(texts), "manifests": "".join(manifests)}


def search(run: Run, far: Far, sides: SeparatePair, empty: Databases) -> None:
    """Use all secrets, and look for each in every place."""

    def channel(port: int) -> grpc.Channel:
        return grpc.secure_channel(
            f"{LOOPBACK}:{port}", grpc.ssl_channel_credentials(root_certificates=far.pem.file.read_bytes())
        )

    def serves(port: int) -> bool:
        with channel(port) as own:
            return healthy(own)

    for side, port in ((sides.users, far.users_metrics), (sides.notifications, far.notifications_metrics)):
        own = {"METRICS_PORT": str(port), "AUDIT_LOG_FILE": str(run.audits[side.package])}
        side.settings = {**side.settings, **own}
        side.serves = serves
    token = run.issuer.token("a-test")
    run.secrets.add("token of a caller", token)
    endpoint = far.push.endpoint(f"PLANTED{secrets.token_hex(8)}")
    browser = Browser(endpoint, key_id="planted", auth=secrets.token_bytes(16))
    delivering = replace(sides.notifications, port=free_port(), command="deliver")
    delivering.settings = {**delivering.settings, "METRICS_PORT": "0"}
    with ExitStack() as ending:
        ending.enter_context(run.lines.watching(os.getpid()))
        ending.callback(delivering.stop)
        sides.start()
        delivering.start()
        with channel(sides.users.port) as to_users, channel(sides.notifications.port) as to_notifications:
            users = Caller(to_users, "vibework.users.v1", run.secrets, token)
            notifications = Caller(to_notifications, "vibework.notifications.v1", run.secrets, token)
            user = sign_in_and_out(users)
            notify(notifications, user, browser)
            secrets_of_mails(far.relay, run.secrets)
            planted = users.plant_everywhere(USERS) | notifications.plant_everywhere(NOTIFICATIONS)
        scraped = metrics(far.users_metrics) + metrics(far.notifications_metrics)
        told = run_commands(run, sides, empty)
    wait_for(lambda: "SendDirect" in "".join(far.collector.texts), "the traces")
    places = {
        **told,
        "logs": run.log.read_text(),
        "audit logs": "".join(path.read_text() for path in run.audits.values()),
        "metrics": scraped,
        "traces": "".join(far.collector.texts),
        "command lines": run.lines.text(),
        "errors": "".join([*users.errors, *notifications.errors]),
    }
    # Passwords stand in the tests themselves, as words of requests; all others are unlike anything else.
    run.secrets.known = {name: values - {PASSWORD} for name, values in run.secrets.known.items()}
    assert run.secrets.found(places) == []
    # Each place has what it is read for, and a secret that stood there would be found.
    signs = {
        "commands": "no problem found",
        "manifests": '"format"',
        "logs": "SignUp",
        "audit logs": user,
        "metrics": "vibework_",
        "traces": "SignUp",
        "command lines": " backup ",
        "errors": "INVALID_FIELDS",
    }
    for place, sign in signs.items():
        looking = Secrets()
        looking.add("sign", sign)
        assert looking.found({place: places[place]}) == [f"sign in {place}"]
    assert far.keys.received[0].headers["authorization"] in {f"Bearer {each}" for each in values_of(run, "jwks")}
    assert planted


def values_of(run: Run, word: str) -> set[str]:
    """Return the planted values whose names hold a word."""
    return {value for name, values in run.secrets.known.items() if word in name for value in values}


@pytest.mark.long
async def test_no_secret_of_a_setting_or_a_call_is_readable_anywhere(
    migrated: Databases, empty: Databases, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every setting, file and field that is a secret has one of its own, and what is told anywhere has none of them."""
    pem, relay = certificate(tmp_path), Relay()
    run = planted_run(tmp_path, pem)

    def let_in(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        return AuthResult(success=data.password.decode() == run.settings["SMTP_PASSWORD"], handled=False)

    async def publish(_: Received, writer: asyncio.StreamWriter) -> None:
        content = key_set(run.issuer)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))

    options = {"auth_required": True, "authenticator": let_in}
    async with push_service(pem) as push, push_service(pem) as keys, running(relay, tls=pem.server, options=options):
        keys.behaviour = publish
        with (
            collecting() as collector,
            own_accounts(migrated, run.secrets) as (mysql, mongo),
        ):
            far = Far(relay, keys, push, collector, pem, free_port(), free_port())
            with separate_pair(mysql, mongo, run.log, **settings_of(run, far)) as sides:
                await asyncio.to_thread(search, run, far, sides, empty)
    said_aside = capfd.readouterr()
    assert run.secrets.found({"stderr": said_aside.err, "stdout": said_aside.out}) == []


def test_every_secret_of_a_request_is_planted() -> None:
    """A method whose secrets nobody plants fails here; the requests that are planted in are those of all methods."""
    planted = set[str]()
    for requests, package in ((USERS, "vibework.users.v1"), (NOTIFICATIONS, "vibework.notifications.v1")):
        call = Caller(grpc.insecure_channel("127.0.0.1:1"), package, Secrets(), "")
        for name in requests:
            planted |= {path[-1].full_name for path in secret_paths(call.method(name).input_type)}
    # One of each kind: of a field, of a message within a list, of a message within a choice, of a map.
    assert {
        "vibework.users.v1.SignInRequest.password",
        "vibework.users.v1.ImportedSession.session_token",
        "vibework.users.v1.VerificationSecret.CodeSecret.code",
        "vibework.notifications.v1.DirectTemplate.variables",
    } <= planted
    assert {"secret_keys", "mysql_password", "mongodb_url", "smtp_password"} <= set(names_of_secrets())
    assert {"tls_key_file", "jwks_token_file", "peer_token_file"} <= set(names_of_secret_files())


@pytest.mark.long
def test_script_server_shows_no_password_to_others_on_the_machine(tmp_path: Path) -> None:
    """The passwords and keys that it makes stand in files of its own, and in no command line, log or banner."""
    planted, lines = Secrets(), CommandLines(tmp_path)
    folder = tmp_path / "local"
    ports = free_port(), free_port()
    named = {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with lines.watching(os.getpid()), script_server(folder, *ports, named) as run:
        run.wait_until_ready()
        output = run.command("users-service", "status").stdout
        _, rest = run.end(signal.SIGTERM)
    for line in (folder / "credentials.env").read_text().splitlines():
        name, _, value = line.partition("=")
        if value:
            planted.add(name, value.partition(":")[2] or value)
    assert len(planted.known) >= 3
    logs = "".join(path.read_text() for path in (folder / "logs").iterdir())
    places = {
        "command lines": lines.text(),
        "banner": "".join(run.banner),
        "rest": rest,
        "logs": logs,
        "status": output,
    }
    assert planted.found(places) == []
    assert "notifications-service" in places["command lines"]
    assert "listening" in logs


def crash(process: subprocess.Popen[bytes]) -> int:
    """Send SIGABRT; return how the process ended, as waitid(2) tells."""
    process.send_signal(signal.SIGABRT)
    ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGABRT
    assert ended is not None
    return ended.si_code


@pytest.fixture
def cores_are_wanted() -> Iterator[None]:
    """Let what this process starts leave cores, as far as this machine does."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@pytest.mark.long
@pytest.mark.usefixtures("cores_are_wanted")
@pytest.mark.parametrize("allowed", [False, True])
def test_a_server_that_crashes_leaves_no_core_unless_it_may(
    mysql_database: MySQLDatabase, tmp_path: Path, allowed: bool
) -> None:
    """A server and what hashes passwords for it leave none, where another process, or `CORE_DUMPS`, leaves one."""
    port = free_port()
    variables = environment(mysql_database, port) | {"METRICS_PORT": "0", "CORE_DUMPS": str(allowed).lower()}
    command = [sys.executable, "-m", "users_service", "serve"]
    other = crash(subprocess.Popen(["sleep", "600"], cwd=tmp_path))
    server = subprocess.Popen(command, cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL)
    try:
        wait_for(lambda: serving(port), "the server")
        with own_channel(port) as channel:
            BlockingStubs.on(channel).sessions.SignUp(SignUpRequest(email=EMAIL, password=PASSWORD))
        assert children(server.pid), "nothing hashes"
        limits = {limit_of_cores(pid) for pid in (server.pid, *children(server.pid))}
    finally:
        ended = crash(server)
    assert ended == (other if allowed else os.CLD_KILLED)
    assert ("1" in limits) is not allowed
    assert len(limits) == 1


def limit_of_cores(pid: int) -> str:
    """Return the bytes that a core of a process may have."""
    (line,) = re.findall(r"^Max core file size\s+(\S+)", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)
    return str(line)
