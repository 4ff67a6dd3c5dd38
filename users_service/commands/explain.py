"""``users-service explain``."""

from __future__ import annotations

from functools import partial
from typing import Final

from chassis.clock import utc_now
from chassis.commands.explain import explain_command
from users_service.explain.catalog import CATALOG
from users_service.explain.report import explain as plans
from users_service.settings import DatabaseSettings

DESCRIPTION: Final = """
Show how the server carries out each statement, or those called NAME, as logs and traces call them.

The statements are the service's own, with values of rows that are there; none is carried out, and writes change
nothing. What reads a whole table or index is marked.
"""

explain = explain_command(DatabaseSettings, CATALOG, partial(plans, clock=utc_now), description=DESCRIPTION)
