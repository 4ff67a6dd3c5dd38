"""The runbook names only commands, settings, reasons, log lines and files that exist, and explains every alert."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
import yaml
from google.protobuf import descriptor_pool, json_format, message_factory
from vibework.errors.v1 import ErrorReason
from vibework.users.v1 import SessionServiceStub

from notifications_service.cli import main as notifications_main
from notifications_service.settings import Settings as NotificationsSettings
from users_service.cli import main as users_main
from users_service.settings import Settings as UsersSettings

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "operations.md"
TEXT = DOCUMENT.read_text()
WITHOUT_BLOCKS = re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)
CODES = re.findall(r"`([^`]+)`", WITHOUT_BLOCKS.replace("\n", " "))
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
GROUPS = {"users-service": users_main, "notifications-service": notifications_main}
HEALTH = {"SERVING", "NOT_SERVING"}
SIGNALS = {"SIGTERM", "SIGKILL"}
SQL_WORDS = {"TIMESTAMP", "KILL"}
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yaml"


def commands() -> list[str]:
    """Return every command of ours that the runbook tells to run."""
    lines = [*SHELL.splitlines(), *CODES]
    found = {line[line.index(name) :] for line in lines for name in GROUPS if re.search(rf"(^|-- ){name} ", line)}
    return sorted(found)


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document."""
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("line", commands())
def test_every_command_and_option_exists(line: str) -> None:
    """Whoever copies a command of ours at night finds that it is there, with these options."""
    name, *arguments = shlex.split(line)
    command: click.Command = GROUPS[name]
    context = click.Context(command)
    while isinstance(command, click.Group):
        assert arguments, f"{line}: which command?"
        found = command.get_command(context, arguments.pop(0))
        assert found is not None, f"{line}: there is no such command"
        command = found
    context = click.Context(command)
    command.make_parser(context).parse_args(arguments)


def test_every_call_by_grpcurl_is_one_of_the_contract() -> None:
    """Methods and fields are those of the .proto files."""
    # Importing the stubs has registered the descriptors.
    assert SessionServiceStub.__name__
    calls = [shlex.split(line) for line in SHELL.splitlines() if line.startswith("grpcurl")]
    assert calls
    for words in calls:
        service, _, method = words[-1].rpartition("/")
        described = descriptor_pool.Default().FindServiceByName(service).methods_by_name[method]
        json_format.Parse(words[words.index("-d") + 1], message_factory.GetMessageClass(described.input_type)())


def test_every_name_in_capitals_is_a_setting_a_reason_or_a_code() -> None:
    """A setting that was renamed is renamed here, too."""
    settings = {name.upper() for each in (UsersSettings, NotificationsSettings) for name in each.model_fields}
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - not a mapping
    known = settings | reasons | HEALTH | SIGNALS | SQL_WORDS | {code.name for code in grpc.StatusCode}
    named = {found[1] for code in CODES if (found := re.fullmatch(r"([A-Z][A-Z0-9_]{3,})(=.*| …)?", code))}
    assert len(named) > 20
    assert named - known == set()


def test_every_link_and_path_leads_somewhere() -> None:
    """Links to documents and their headings, and paths of this repository, are good."""
    for target in re.findall(r"\]\(([^)]+)\)", WITHOUT_BLOCKS):
        path, _, anchor = target.partition("#")
        document = DOCUMENT.parent / path if path else DOCUMENT
        assert document.exists(), target
        assert not anchor or anchor in anchors(document), target
    paths = [code for code in CODES if re.match(r"(script|deploy|docs|tests)/[\w./-]+$", code)]
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_log_line_explained_is_one_that_is_written() -> None:
    """What somebody searches the logs for is what the code writes."""
    table = TEXT[TEXT.index("| event | means |") :].partition("\n\n")[0]
    events = re.findall(r"`([^`]+)`", "\n".join(row.split("|")[1] for row in table.splitlines()))
    assert len(events) > 10
    sources = [path.read_text() for name in ("chassis", *_packages()) for path in (ROOT / name).rglob("*.py")]
    assert [event for event in events if not any(f'"{event}"' in source for source in sources)] == []


def _packages() -> tuple[str, str]:
    return "users_service", "notifications_service"


def alerts() -> dict[str, Any]:
    """Return the alert rules by name."""
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule for rule in rules if "alert" in rule}


def test_every_alert_has_its_section_and_leads_there() -> None:
    """Whoever is woken by an alert finds, behind its link, what it means, where to look and what to do."""
    section = TEXT.partition("<!-- alerts: begin")[2].partition("<!-- alerts: end")[0]
    explained = re.split(r"^### ", section, flags=re.MULTILINE)[1:]
    by_name = {text.partition("\n")[0]: text for text in explained}
    assert list(by_name) == list(alerts())
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"].endswith(f"docs/operations.md#{name.lower()}")
        assert all(word in by_name[name] for word in ("**Look.**", "**Do.**")), name


def test_every_metric_named_is_one_of_the_alerts_or_the_dashboards() -> None:
    """A metric that the runbook sends somebody to is in what Prometheus and Grafana were given."""
    given = "".join(path.read_text() for path in (ROOT / "deploy").rglob("*") if path.suffix in (".json", ".yaml"))
    named = {found[0] for code in CODES if (found := re.match(r"vibework_\w+", code))}
    assert [name for name in sorted(named) if name not in given] == []


def test_every_panel_named_is_on_the_dashboard() -> None:
    """*Panels* are called what they are called there."""
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "vibework.json").read_text())
    titles = {panel["title"] for panel in dashboard["panels"]}
    named = set(re.findall(r"(?<!\*)\*([A-Z0-9][^*]+)\*(?!\*)", WITHOUT_BLOCKS.replace("\n", " ")))
    assert len(named) > 10
    assert named - titles == set()
