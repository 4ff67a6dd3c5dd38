"""``notifications-service rotate-keys``."""

from __future__ import annotations

import sys

import click

from chassis.clock import utc_now
from chassis.commands.cli import run
from chassis.keyring import Keyring
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import opened
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from notifications_service.push_subscriptions.resealing import Resealed, reseal_all
from notifications_service.settings import Settings


@click.command("rotate-keys")
def rotate_keys() -> None:
    """Seal push subscriptions anew under the first of SECRET_KEYS.

    Safe beside live traffic, and started again after an interruption. A subscription that cannot be opened is left as
    it is, counted and named; then the exit code is 1.
    """
    settings = load(Settings)
    seal = Seal(Keyring.parse(settings.secret_keys.get_secret_value()))
    result = run(_rotate(settings, seal))
    click.echo(f"{result.done} push subscriptions sealed anew under key {seal.primary}")
    left = [
        result.keyless.told("push subscriptions", "their key is not in SECRET_KEYS"),
        result.damaged.told("push subscriptions", "they are damaged"),
    ]
    for line in filter(None, left):
        click.echo(line, err=True)
    if any(left):
        sys.exit(1)


async def _rotate(settings: Settings, seal: Seal) -> Resealed:
    async with opened(settings) as database:
        return await reseal_all(PushSubscriptionRepository(database, seal, in_milliseconds(utc_now)), seal)
