"""The pair in containers, for testcontainers (https://testcontainers.com): without pytest, too.

from vibework.testing.containers import VibeworkPair

with VibeworkPair() as pair, pair.described().users() as users:
users.create_user(email="ada@example.com")
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from testcontainers.community.mysql import MySqlContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from vibework.testing import _waiting
from vibework.testing._mails import Mailpit
from vibework.testing._pair import Pair
from vibework.testing._processes import new_secret_keys
from vibework.testing._settings import Settings
from vibework.testing.local import mail
from vibework.testing.local.mongodb import COMPRESSORS, REPLICA_SET, make_primary
from vibework.testing.local.problems import LocalProblem
from vibework.testing.local.services import START_TIMEOUT_SECONDS, is_serving

_DEFAULT: Final = Settings()
IMAGE: Final = _DEFAULT.image
MYSQL_PORT: Final = 3306
MONGODB_PORT: Final = 27017
SMTP_PORT: Final = 1025
MAILPIT_PORT: Final = 8025


class _ServiceContainer(DockerContainer):
    """A service that migrates its database, then serves; ``settings``: those of its database above all."""

    name: str
    port: int

    def __init__(self, settings: Mapping[str, str], image: str = IMAGE) -> None:
        super().__init__(image)
        command = f"{self.name}-service"
        self.with_exposed_ports(self.port)
        self.with_command(["sh", "-c", f"{command} migrate up && exec {command} serve"])
        self.settings: Mapping[str, str] = {
            # Plain text, between containers of this machine and on its loopback.
            "ALLOW_PLAINTEXT": "true",
            "GRPC_DRAIN_MS": "0",
            "GRPC_PORT": str(self.port),
            "SECRET_KEYS": new_secret_keys(),
            **settings,
        }
        self.with_envs(**self.settings)

    @property
    def address(self) -> str:
        """Where it is called from here, ``host:port``."""
        return f"{self.get_container_host_ip()}:{self.get_exposed_port(self.port)}"

    def start(self) -> Self:
        """Start it, and wait until it serves. Raises `LocalProblem`, with its log, where it does not."""
        super().start()
        _waiting.wait_for(lambda: self._is_serving() or None, self._problem, START_TIMEOUT_SECONDS)
        return self

    def _is_serving(self) -> bool:
        self.reload()
        if self.status == "exited":
            raise self._problem()
        return is_serving(self.address)

    def _problem(self) -> LocalProblem:
        output, errors = self.get_logs()
        detail = (output + errors).decode(errors="replace")[-2000:]
        return LocalProblem(f"{self.name}-service does not serve ({self.image})", detail=detail)


class UsersContainer(_ServiceContainer):
    """The users service; ``settings`` name its MySQL: ``MYSQL_HOST``, ``MYSQL_USER`` and the others."""

    name = "users"
    port = 50051


class NotificationsContainer(_ServiceContainer):
    """The notifications service; ``settings`` name its MongoDB: ``MONGODB_URL``."""

    name = "notifications"
    port = 50052


class VibeworkPair:
    """Both services, their databases and a Mailpit, in a network of their own. Use it as a context.

    Images are arguments. ``settings``: further settings of both services.
    """

    def __init__(
        self,
        image: str = IMAGE,
        *,
        mysql_image: str = _DEFAULT.mysql_image,
        mongodb_image: str = _DEFAULT.mongodb_image,
        mailpit_image: str = _DEFAULT.mailpit_image,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._ending = ExitStack()
        self.network = Network()
        password = secrets.token_hex(16)
        self.mysql = MySqlContainer(
            mysql_image, username="vibework", password=password, root_password=secrets.token_hex(16), dbname="vibework"
        )
        self.mysql.with_command("--character-set-server=utf8mb4 --default-time-zone=+00:00")
        self.mongodb = DockerContainer(mongodb_image).with_exposed_ports(MONGODB_PORT)
        self.mongodb.with_command(f"mongod --replSet {REPLICA_SET} {COMPRESSORS}")
        self.mailpit = DockerContainer(mailpit_image).with_exposed_ports(SMTP_PORT, MAILPIT_PORT)
        # Each knows the others by their names in the network.
        shared = {
            "USERS_ADDRESS": f"users:{UsersContainer.port}",
            "NOTIFICATIONS_ADDRESS": f"notifications:{NotificationsContainer.port}",
            **(settings or {}),
        }
        mysql = {"MYSQL_HOST": "mysql", "MYSQL_USER": "vibework", "MYSQL_PASSWORD": password}
        self.users = UsersContainer({**mysql, "MYSQL_DATABASE": "vibework", **shared}, image)
        mailed = {
            "SMTP_HOST": "mailpit",
            "SMTP_PORT": str(SMTP_PORT),
            "SMTP_SECURITY": "none",
            "SMTP_PLAIN_TEXT_ANYWHERE": "true",
            **mail.FROM,
        }
        mongodb = {"MONGODB_URL": f"mongodb://mongodb:{MONGODB_PORT}/vibework?replicaSet={REPLICA_SET}"}
        self.notifications = NotificationsContainer({**mongodb, **mailed, **shared}, image)

    def start(self) -> Self:
        """Start all of it; where one does not start, what has started is stopped."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Stop and remove all of it."""
        self._ending.close()

    def described(self) -> Pair:
        """Return where the pair is and how it is called. It must have been started."""
        mailpit = f"{self.mailpit.get_container_host_ip()}:{self.mailpit.get_exposed_port(MAILPIT_PORT)}"
        return Pair(
            self.users.address,
            self.notifications.address,
            mails=Mailpit(f"http://{mailpit}"),
            secret_keys={each.name: each.settings["SECRET_KEYS"] for each in (self.users, self.notifications)},
        )

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()

    def _start(self) -> None:
        self._ending.enter_context(self.network)
        self._run(self.mysql, "mysql")
        self._run(self.mongodb, "mongodb")
        make_primary(
            int(self.mongodb.get_exposed_port(MONGODB_PORT)),
            member=f"mongodb:{MONGODB_PORT}",
            at=self.mongodb.get_container_host_ip(),
        )
        self._run(self.mailpit, "mailpit")
        self._run(self.users, self.users.name)
        self._run(self.notifications, self.notifications.name)

    def _run(self, container: DockerContainer, name: str) -> None:
        container.with_network(self.network).with_network_aliases(name)
        self._ending.enter_context(container)
