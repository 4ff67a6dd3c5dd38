"""``notifications-service deliver``."""

from __future__ import annotations

import sys
from functools import partial

import click

from chassis.settings import load
from notifications_service.settings import DeliverSettings


@click.command()
def deliver() -> None:
    """Send what goes out by email and push until SIGTERM or SIGINT, beside `serve` with DELIVERY=separate."""
    from chassis.serving import lifecycle
    from notifications_service.app import build_delivery

    settings = load(DeliverSettings)
    sys.exit(lifecycle.run(settings, partial(build_delivery, settings)))
