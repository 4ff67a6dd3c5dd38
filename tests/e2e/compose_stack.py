"""A stack of docker-compose.yml that is a test's own: brought up, asked, and looked for when it is gone."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vibework.testing.local.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
# A first start builds the image.
UP_SECONDS = 600


@dataclass(frozen=True)
class Stack:
    """A compose project of this run's own, on free ports, with an image of its own name."""

    name: str = field(default_factory=lambda: f"vw-test-{uuid.uuid4().hex[:8]}")
    users_port: int = field(default_factory=free_port)
    notifications_port: int = field(default_factory=free_port)
    mailpit_port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)
    mysql_port: int = field(default_factory=free_port)
    mongodb_port: int = field(default_factory=free_port)
    # Of the image; empty: the project's own.
    tag: str = ""

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which ``docker compose`` is that of this project."""
        # Not `--project-name`: with it, and no file, `down` takes down whatever bears that name, which no person types.
        return {
            **os.environ,
            "COMPOSE_PROJECT_NAME": self.name,
            "VIBEWORK_TAG": self.tag or self.name,
            "USERS_PORT": str(self.users_port),
            "NOTIFICATIONS_PORT": str(self.notifications_port),
            "MAILPIT_PORT": str(self.mailpit_port),
            "GATEWAY_PORT": str(self.gateway_port),
            "MYSQL_PUBLISHED_PORT": str(self.mysql_port),
            "MONGODB_PUBLISHED_PORT": str(self.mongodb_port),
        }

    def compose(self, *arguments: str, check: bool = True) -> str:
        """Run ``docker compose`` for this project and return what it printed."""
        command = ["docker", "compose", "--ansi", "never", *arguments]
        result = subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=UP_SECONDS,
            check=False,
        )
        assert not check or result.returncode == 0, f"{result.stderr}\n{self.logs()}"
        return result.stdout

    def piped(self, arguments: list[str], **streams: Any) -> subprocess.CompletedProcess[bytes]:
        """Run ``docker compose`` for this project with bytes going in or out."""
        command = ["docker", "compose", "--ansi", "never", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, stderr=subprocess.PIPE, timeout=UP_SECONDS, check=False, **streams
        )

    def logs(self) -> str:
        """Return the end of every container's log."""
        return self.compose("logs", "--no-color", "--tail=20", check=False)

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what the engine says of a service's container."""
        described: dict[str, Any] = json.loads(_docker("inspect", self._container(service)))[0]
        return described

    def events(self, service: str) -> list[str]:
        """Return the events that a service logged, oldest first."""
        lines = _docker("logs", self._container(service)).splitlines()
        return [json.loads(line)["event"] for line in lines if line.startswith("{")]

    def left(self) -> list[str]:
        """Return what the engine still has of this project: containers, networks and volumes, by their names."""
        label = f"label=com.docker.compose.project={self.name}"
        lists = (
            ("container", "ls", "--all", "--format", "{{.Names}}"),
            ("network", "ls", "--format", "{{.Name}}"),
            ("volume", "ls", "--format", "{{.Name}}"),
        )
        return [line for command in lists for line in _docker(*command, "--filter", label).splitlines()]

    def _container(self, service: str) -> str:
        return self.compose("ps", "--all", "--quiet", service).strip()


def _docker(*arguments: str) -> str:
    command = ["docker", *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return result.stdout
