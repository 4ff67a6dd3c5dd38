"""`docker-compose.yml` as it stands: what starts when nothing is asked for, and what each profile adds."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from script.local.mongodb import COMPRESSORS

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def of_profile(name: str) -> set[str]:
    """Return the services that only a profile starts."""
    return {service for service, described in SERVICES.items() if name in described.get("profiles", [])}


def test_profiles_add_and_never_take_away() -> None:
    """`docker compose up` is the pair with its databases; nothing that it starts waits for a profile."""
    optional = {service for service, described in SERVICES.items() if "profiles" in described}
    assert of_profile("observability") == {"prometheus", "grafana"}
    assert of_profile("backups") == {"users-backup", "notifications-backup"}
    assert optional == of_profile("observability") | of_profile("backups")
    for service in SERVICES.keys() - optional:
        assert not optional & set(SERVICES[service].get("depends_on", {}))


def test_everything_published_is_published_to_this_machine_only() -> None:
    """No port of any profile can be reached from another machine."""
    ports = [port for described in SERVICES.values() for port in described.get("ports", [])]
    assert len(ports) == 7
    assert [port for port in ports if not port.startswith("127.0.0.1:${")] == []


def test_images_of_others_are_pinned() -> None:
    """A start next year runs what was tried today."""
    images = {service: described["image"] for service, described in SERVICES.items()}
    others = {service: image for service, image in images.items() if not image.startswith("vibework-services:")}
    assert others.keys() == {"mysql", "mongodb", "mailpit", "prometheus", "grafana"}
    assert [image for image in others.values() if not re.search(r":v?\d+\.\d+(\.\d+)?$", image)] == []


def test_backups_reach_their_own_database_only() -> None:
    """Each has its service's network, secrets and settings, a volume of its own, and no port."""
    for service in ("users", "notifications"):
        backup, served = SERVICES[f"{service}-backup"], SERVICES[service]
        assert backup["command"] == [f"{service}-service"]
        assert backup["networks"] == [f"{service}-data"]
        assert f"{service}-backups:/backups" in backup["volumes"]
        assert f"{service}-secrets:/run/secrets:ro" in backup["volumes"]
        assert set(backup["environment"]) <= set(served["environment"]) | {"BACKUPS_AT", "BACKUPS_KEEP"}
        assert "ports" not in backup


def test_files_that_containers_mount_are_there() -> None:
    """A missing file would become an empty folder in the container."""
    volumes = [volume for described in SERVICES.values() for volume in described.get("volumes", [])]
    mounted = [volume.split(":")[0] for volume in volumes if volume.startswith("./")]
    assert [path for path in mounted if not (ROOT / path).exists()] == []


def test_the_databases_are_published_by_nobody_unless_asked_for() -> None:
    """Of no profile, so that a plain `down -v` takes it down; and of no container, so that a plain `up` has none."""
    assert SERVICES["databases"]["scale"] == 0
    assert [service for service, described in SERVICES.items() if "databases" in described.get("depends_on", {})] == []


DOCUMENTS = [ROOT / "docker-compose.yml", ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# The first words of a command, up to what ends it in prose, in a table or in a shell.
TYPED = sorted({line for path in DOCUMENTS for line in re.findall(r"docker compose( [^`|<>()\n]*)", path.read_text())})


def named(words: list[str]) -> tuple[set[str], set[str]]:
    """Return the profiles and the services that the words of a command name."""
    options = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    options.add_argument("--profile", action="append", default=[])
    options.add_argument("--scale", action="append", default=[])
    options.add_argument("subcommand", nargs="?")
    given, others = options.parse_known_args(words)
    services = [word for word in others if not word.startswith("-")]
    if given.subcommand in ("exec", "run"):
        services = services[:1]
    known = given.subcommand in ("exec", "run", "up", "stop", "down")
    scaled = {word.split("=")[0] for word in given.scale}
    return set(given.profile) - {"*"}, scaled | (set(services) if known else set())


@pytest.mark.parametrize("line", TYPED)
def test_commands_of_the_documents_name_what_is_there(line: str) -> None:
    """Whoever copies one is not told that there is no such service."""
    # Spaces in a row come before a remark.
    profiles, services = named([word.strip("'") for word in re.split(r" {2,}|#", line.strip())[0].split()])
    assert profiles <= {profile for described in SERVICES.values() for profile in described.get("profiles", ())}
    assert services <= SERVICES.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_every_container_is_bounded(service: str) -> None:
    """None has more power than it is given here, and none takes all memory or all processes of the machine."""
    described = SERVICES[service]
    assert described["cap_drop"] == ["ALL"]
    assert described["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\d+[mg]", described["mem_limit"])
    assert described["pids_limit"] > 0


def test_powers_are_given_to_those_that_start_as_root_alone() -> None:
    """The databases' images become another user; secrets are given to their readers; passwords are read for a shell."""
    given = {service: set(described["cap_add"]) for service, described in SERVICES.items() if "cap_add" in described}
    becoming = {"CHOWN", "DAC_OVERRIDE", "SETGID", "SETUID"}
    assert given == {
        "secrets": {"CHOWN", "DAC_OVERRIDE", "FOWNER"},
        "mysql": becoming,
        "mongodb": becoming,
        "databases": {"DAC_READ_SEARCH"},
    }


def test_mongod_takes_no_message_that_is_compressed_with_zlib() -> None:
    """The same holds for those of script/server and of the tests (CVE-2025-14847)."""
    assert COMPRESSORS in SERVICES["mongodb"]["command"]
