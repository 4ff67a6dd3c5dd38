"""The pair as local processes, with its databases and a catcher of its mails, all of them made for one run of tests."""

from __future__ import annotations

import base64
import importlib.util
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from vibework.testing import _databases
from vibework.testing._mails import Folder
from vibework.testing._pair import Pair
from vibework.testing._settings import Settings, variable
from vibework.testing.local import mail, mongodb, mysql_installation, ports, services
from vibework.testing.local.mongodb import LocalMongoDB
from vibework.testing.local.mysql import LocalMySQL, MySQLAccount

NAMES: Final = ("users", "notifications")
# All that the services take over from the environment of the tests: another MYSQL_HOST in it is not theirs.
INHERITED: Final = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "TMPDIR", "TZ", "VIRTUAL_ENV")


def missing(settings: Settings) -> list[str]:
    """Return what is not there for local processes, a sentence each."""
    lacks = [
        f"{name}-service is not installed (pip install 'vibework-services[server]')"
        for name in NAMES
        if services.program_of(name) is None
    ]
    lacks += without("aiosmtpd", "pymongo")
    if not settings.mysql_url and mysql_installation.find() is None:
        lacks.append(f"neither mysqld nor mariadbd is installed, and {variable('mysql_url')} names no server")
    if not settings.mongodb_url and mongodb.find() is None:
        lacks.append(f"mongod is not on PATH, and {variable('mongodb_url')} names no replica set")
    return lacks


def without(*names: str) -> list[str]:
    """Return which of these packages of the extra `testing` are not there, a sentence each."""
    absent = [name for name in names if importlib.util.find_spec(name) is None]
    return [f"{name} is not installed (pip install 'vibework[testing]')" for name in absent]


class Service(services.Service):
    """A service that knows its own settings alone."""

    def inherited(self) -> Mapping[str, str]:
        """Return the environment that the settings come on top of."""
        return {name: os.environ[name] for name in INHERITED if name in os.environ}


def new_secret_keys() -> str:
    """Return SECRET_KEYS that nobody else has."""
    return f"test:{base64.b64encode(secrets.token_bytes(32)).decode()}"


@contextmanager
def running(settings: Settings, folder: Path, more: Mapping[str, str]) -> Iterator[Pair]:
    """Run the pair until the context ends; data and logs are in the folder. ``more``: settings of both services.

    Raises `LocalProblem`.
    """
    with ExitStack() as ending:
        mail_port = ports.free_port()
        catcher = mail.begin(mail_port, folder / "mails", folder / "mail.log")
        ending.callback(catcher.stop)
        databases = _databases_of(settings, folder, ending)
        mail.wait(catcher, mail_port)
        pair = _services(databases, {**mail.settings(mail_port), **more})
        services.migrate(pair, folder)
        for service in pair:
            process = service.run("serve", log=folder / f"{service.name}.log")
            ending.callback(process.stop)
            process.wait_until(service.is_serving, timeout=services.START_TIMEOUT_SECONDS)
        users, notifications = pair
        yield Pair(
            users.address,
            notifications.address,
            mails=Folder(folder / "mails"),
            secret_keys={service.name: service.settings["SECRET_KEYS"] for service in pair},
        )


def _services(databases: Mapping[str, str], more: Mapping[str, str]) -> tuple[Service, Service]:
    port_of = {name: ports.free_port() for name in NAMES}
    shared = {
        "GRPC_HOST": ports.LOOPBACK,
        "GRPC_DRAIN_MS": "0",
        "LOG_FORMAT": "console",
        "METRICS_PORT": "0",
        **{f"{name.upper()}_ADDRESS": f"{ports.LOOPBACK}:{port}" for name, port in port_of.items()},
        **databases,
    }
    users, notifications = (
        Service(name, port, {**shared, "GRPC_PORT": str(port), "SECRET_KEYS": new_secret_keys(), **more})
        for name, port in port_of.items()
    )
    return users, notifications


def _databases_of(settings: Settings, folder: Path, ending: ExitStack) -> dict[str, str]:
    """Start or make the databases; return the settings that lead to them."""
    found: dict[str, str] = {}
    local: list[LocalMySQL | LocalMongoDB] = []
    if settings.mysql_url:
        found |= ending.enter_context(_databases.new_in_mysql(settings.mysql_url))
    else:
        mysql = LocalMySQL(folder / "mysql", MySQLAccount("vibework", secrets.token_hex(16), "vibework"))
        found |= mysql.settings()
        local.append(mysql)
    if settings.mongodb_url:
        found |= ending.enter_context(_databases.new_in_mongodb(settings.mongodb_url))
    else:
        replica_set = LocalMongoDB(folder / "mongodb", cache_gb=0.25)
        found["MONGODB_URL"] = replica_set.url.replace("/?", "/vibework?")
        local.append(replica_set)
    for server in local:
        ending.callback(server.kill)
        server.begin()
    for server in local:
        server.wait()
    return found
