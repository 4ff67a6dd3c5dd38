"""The two services of script/server: their settings, where other scripts find them, and their ports."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from vibework.testing.local import ports, services
from vibework.testing.local.problems import LocalProblem

from chassis.probe import Trust, probe, trust_of_settings
from chassis.settings import ServerSettings
from notifications_service.settings import Settings as NotificationsSettings
from script.local.certs import Certificates
from users_service.settings import Settings as UsersSettings

USERS_PORT = 50051
NOTIFICATIONS_PORT = 50052
METRICS_PORTS = {"users": 9464, "notifications": 9465}
SETTINGS: Mapping[str, type[ServerSettings]] = {"users": UsersSettings, "notifications": NotificationsSettings}


class Service(services.Service):
    """One service, which may ask its callers for certificates."""

    def is_serving(self) -> bool:
        """Ask for its health."""
        return probe(self.address, "", timeout=1.0, trust=self._trust()) == "SERVING"

    def _trust(self) -> Trust | None:
        certificate, authority = self.settings.get("TLS_CERT_FILE"), self.settings.get("PEER_TLS_CA_FILE")
        if certificate is None or authority is None:
            return trust_of_settings()
        return Trust(Path(authority), certificate=Path(certificate), key=Path(self.settings["TLS_KEY_FILE"]))


def pair(
    databases: Mapping[str, str],
    credentials: Mapping[str, str],
    mail: Mapping[str, str] | None = None,
    certificates: Certificates | None = None,
) -> tuple[Service, Service]:
    """Return both services, on USERS_PORT (50051) and NOTIFICATIONS_PORT (50052), each knowing the other.

    ``mail``: where the notifications service hands its mails to. ``certificates``: for TLS; None: plain text.
    """
    ports_of = {
        "users": _port("USERS_PORT", USERS_PORT),
        "notifications": _port("NOTIFICATIONS_PORT", NOTIFICATIONS_PORT),
    }
    shared = {
        "GRPC_HOST": ports.LOOPBACK,
        "LOG_FORMAT": os.environ.get("LOG_FORMAT", "console"),
        "GRPC_DRAIN_MS": os.environ.get("GRPC_DRAIN_MS", "0"),  # no balancer here has to notice first
        "USERS_ADDRESS": f"{ports.LOOPBACK}:{ports_of['users']}",
        "NOTIFICATIONS_ADDRESS": f"{ports.LOOPBACK}:{ports_of['notifications']}",
        **databases,
    }
    users, notifications = (
        Service(
            name,
            port,
            {
                **shared,
                **((mail or {}) if name == "notifications" else {}),
                **(certificates.settings(name) if certificates else {}),
                "GRPC_PORT": str(port),
                "METRICS_PORT": _metrics_port(name),
                "SECRET_KEYS": os.environ.get("SECRET_KEYS") or credentials[f"{name.upper()}_SECRET_KEYS"],
            },
        )
        for name, port in ports_of.items()
    )
    return users, notifications


def write_settings(services: Sequence[Service], folder: Path) -> None:
    """Leave the settings of the services where `script/run` finds them; they hold secrets, so mode 600.

    Those that the services have of this process's environment are among them, such as where their databases are.
    """
    for service in services:
        path = _settings_file(folder, service.command)
        unfinished = path.with_suffix(".unfinished")
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps({**_inherited(service.name), **service.settings}))
        unfinished.rename(path)


def _inherited(name: str) -> dict[str, str]:
    known = {"SECRETS_DIR", *map(str.upper, SETTINGS[name].model_fields)}
    return {variable: os.environ[variable] for variable in known & os.environ.keys()}


def read_settings(folder: Path, command: str) -> dict[str, str]:
    """Return what `write_settings` left; raise `LocalProblem` where nothing runs on the folder."""
    path = _settings_file(folder, command)
    if not path.exists():
        raise LocalProblem(f"script/server does not run on {folder}: start it first")
    settings: dict[str, str] = json.loads(path.read_text())
    return settings


def read_pair(folder: Path) -> tuple[Service, Service]:
    """Return both services as they run on the folder; raise `LocalProblem` where they do not."""
    users, notifications = (_as_written(folder, name) for name in SETTINGS)
    return users, notifications


def _as_written(folder: Path, name: str) -> Service:
    settings = read_settings(folder, f"{name}-service")
    return Service(name, int(settings["GRPC_PORT"]), settings)


def are_told(folder: Path) -> bool:
    """Say whether the settings of both are there: the services run, or are being started."""
    return all(_settings_file(folder, f"{name}-service").exists() for name in SETTINGS)


def remove_settings(folder: Path) -> None:
    """Take the settings away: the services do not run any more."""
    for path in folder.glob("*.settings.json"):
        path.unlink()


def _settings_file(folder: Path, command: str) -> Path:
    return folder / f"{command}.settings.json"


def check_ports(services: Sequence[Service]) -> None:
    """Raise `LocalProblem` if another program listens on a service's port."""
    for service in services:
        if ports.is_taken(service.port):
            variable = f"{service.name.upper()}_PORT"
            raise LocalProblem(
                f"port {service.port} is taken, so {service.command} cannot listen there: "
                f"stop the program that has it, or name another port in {variable}"
            )


def _metrics_port(name: str) -> str:
    """Return where a service's metrics are read: USERS_METRICS_PORT (9464) and the like; METRICS_PORT=0: nowhere."""
    if os.environ.get("METRICS_PORT") == "0":
        return "0"
    return str(_port(f"{name.upper()}_METRICS_PORT", METRICS_PORTS[name]))


def _port(variable: str, default: int) -> int:
    value = os.environ.get(variable) or str(default)
    if not value.isdecimal() or not 0 < int(value) < 65_536:
        raise LocalProblem(f"{variable} is not a port number (1 to 65535)")
    return int(value)
