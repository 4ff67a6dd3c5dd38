"""`docker-compose.yml` as it stands: what starts when nothing is asked for, and what each profile adds."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from vibework.testing.local.mongodb import COMPRESSORS

ROOT = Path(__file__).resolve().parents[2]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


OWN_IMAGE = "${VIBEWORK_IMAGE:-vibework-services}:${VIBEWORK_TAG:-local}"


def of_profile(name: str) -> set[str]:
    """Return the services that only a profile starts."""
    return {service for service, described in SERVICES.items() if name in described.get("profiles", [])}


def test_profiles_add_and_never_take_away() -> None:
    """`docker compose up` is the pair with its databases; nothing that it starts waits for a profile."""
    optional = {service for service, described in SERVICES.items() if "profiles" in described}
    assert of_profile("observability") == {"observability-files", "prometheus", "grafana"}
    assert of_profile("backups") == {"users-backup", "notifications-backup"}
    assert of_profile("gateway") == {"gateway", "gateway-configure"}
    assert optional == of_profile("observability") | of_profile("backups") | of_profile("gateway")
    for service in SERVICES.keys() - optional:
        assert not optional & set(SERVICES[service].get("depends_on", {}))


def test_everything_published_is_published_to_this_machine_only() -> None:
    """No port of any profile can be reached from another machine."""
    ports = [port for described in SERVICES.values() for port in described.get("ports", [])]
    assert len(ports) == 8
    assert [port for port in ports if not port.startswith("127.0.0.1:${")] == []


def test_plain_text_is_allowed_where_it_is_seen() -> None:
    """The image listens everywhere, which without TLS needs a setting of this file; health is asked for over HTTP."""
    for service in ("users", "notifications"):
        given = SERVICES[service]["environment"]
        assert ("TLS_CERT_FILE" in given) != (given.get("ALLOW_PLAINTEXT") == "true")
        assert "healthcheck" not in SERVICES[service]
    assert "/readyz" in (ROOT / "deploy" / "image" / "health").read_text()


def test_images_of_others_are_pinned() -> None:
    """A start next year runs what was tried today."""
    images = {service: described["image"] for service, described in SERVICES.items()}
    others = {service: image for service, image in images.items() if image != OWN_IMAGE}
    assert others.keys() == {"mysql", "mongodb", "mailpit", "prometheus", "grafana", "gateway"}
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


def test_the_file_is_all_that_it_takes() -> None:
    """Whoever has the image and this file needs no checkout: nothing is mounted from one; the image has the rest."""
    volumes = [volume for described in SERVICES.values() for volume in described.get("volumes", [])]
    assert [volume for volume in volumes if volume.startswith((".", "/"))] == []
    dockerfile, kept = (ROOT / "Dockerfile").read_text(), (ROOT / ".dockerignore").read_text()
    run = {word for described in SERVICES.values() for word in described.get("entrypoint", []) if word.endswith(".py")}
    held = [*(ROOT / "deploy" / "compose").glob("*.py"), ROOT / "deploy" / "envoy" / "configure.py"]
    assert run == {f"/{path.name}" for path in held}
    for copied in ("deploy/compose/", "deploy/envoy/configure.py", "deploy/prometheus/", "deploy/grafana/"):
        assert re.search(rf"^COPY .*{re.escape(copied)}", dockerfile, re.MULTILINE)
        assert f"!{copied.rstrip('/')}" in kept
    own = [described["image"] for described in SERVICES.values() if "vibework" in described["image"]]
    assert set(own) == {OWN_IMAGE}


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
