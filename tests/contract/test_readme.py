"""The README's table of settings is the code's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic.fields import FieldInfo

from chassis.settings import ServerSettings
from notifications_service.settings import Settings as NotificationsSettings
from users_service.settings import Settings as UsersSettings

README = Path(__file__).parents[2] / "README.md"
TABLE = re.compile(r"(<!-- settings: begin[^\n]*-->\n).*?(<!-- settings: end -->)", re.DOTALL)


def shown_default(field: FieldInfo) -> str:
    """Render a default as one would write it in the environment."""
    if field.is_required():
        return "required"
    if field.default is None or field.default == "":
        return "none"
    value: Any = field.default
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def rows(settings: type[ServerSettings], *, leaving_out: type[ServerSettings] | None = None) -> list[str]:
    """Render one row for each setting that another class does not have."""
    known = set(leaving_out.model_fields) if leaving_out else set()
    return [
        f"| `{name.upper()}` | {shown_default(field)} | {' '.join((field.description or '').split())}{choices(field)} |"
        for name, field in settings.model_fields.items()
        if name not in known
    ]


def choices(field: FieldInfo) -> str:
    """Name the values that a setting may take, where they are few and not described."""
    values = [value for value in get_args(field.annotation) if isinstance(value, str)]
    missing = [value for value in values if value not in (field.description or "") and value != field.default]
    return f" One of {', '.join(f'`{value}`' for value in values)}." if missing else ""


def table() -> str:
    """Render all settings, the shared ones last."""
    head = ["| variable | default | |", "|---|---|---|"]
    shared = rows(ServerSettings)
    for name in ("grpc_port", "metrics_port"):
        # The one setting of either kind that the services differ in.
        users, notifications = (settings.model_fields[name] for settings in (UsersSettings, NotificationsSettings))
        start = f"| `{name.upper()}` | "
        both = f"{start}`{users.default}` users, `{notifications.default}` notifications | {users.description} |"
        shared = [both if row.startswith(start) else row for row in shared]
    parts = {
        "users_service": rows(UsersSettings, leaving_out=ServerSettings),
        "notifications_service": rows(NotificationsSettings, leaving_out=ServerSettings),
        "both": shared,
    }
    return "\n".join(f"**{name}**\n\n" + "\n".join([*head, *lines]) + "\n" for name, lines in parts.items())


def test_the_readme_lists_every_setting_with_its_default(pytestconfig: pytest.Config) -> None:
    """A newcomer finds every setting, under its name, with the default that the code has."""
    text = README.read_text()
    expected = TABLE.sub(lambda found: found[1] + table() + found[2], text)
    if pytestconfig.getoption("--update-golden", default=False):
        README.write_text(expected)
        text = expected
    assert text == expected, "the table is stale: run pytest tests/contract/test_readme.py --update-golden"


@pytest.mark.parametrize("settings", [UsersSettings, NotificationsSettings])
def test_every_setting_says_what_it_is(settings: type[ServerSettings]) -> None:
    """No setting comes without a sentence about it."""
    assert [name for name, field in settings.model_fields.items() if not field.description] == []
