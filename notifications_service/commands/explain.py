"""``notifications-service explain``."""

from __future__ import annotations

from typing import Final

import click

from chassis.clock import utc_now
from chassis.commands.explain import explain_command
from chassis.commands.report import Report
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import failures_told
from notifications_service.explain.examples import CATALOG
from notifications_service.explain.report import explain as plans
from notifications_service.settings import DatabaseSettings

DESCRIPTION: Final = """
Show how the server carries out each command, or those called NAME, as logs and traces call them.

The commands are the service's own, with values of a notification that is there; none is carried out. What reads a
whole collection, or sorts, is marked.
"""


async def _plans(settings: DatabaseSettings, name: str | None, *, analyze: bool) -> Report:
    with failures_told():
        return await plans(settings, name, in_milliseconds(utc_now), analyze=analyze)


explain = explain_command(
    DatabaseSettings,
    CATALOG,
    _plans,
    click.option(
        "--analyze", is_flag=True, help="Let the server count what each reads; writes change nothing even so."
    ),
    description=DESCRIPTION,
)
