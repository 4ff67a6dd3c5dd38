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
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.suppressions.resealing import ResealedList, reseal_list


@click.command("rotate-keys")
def rotate_keys() -> None:
    """Seal push subscriptions and the suppression list anew under the first of SECRET_KEYS.

    Safe beside live traffic, and started again after an interruption. What cannot be opened is left as it is, counted
    and named; then the exit code is 1.
    """
    settings = load(Settings)
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    subscriptions, suppressions = run(_rotate(settings, keyring))
    left: list[str] = []
    for what, result in (("push subscriptions", subscriptions), ("suppressions", suppressions)):
        click.echo(f"{result.done} {what} sealed anew under key {keyring.primary}")
        left.append(result.keyless.told(what, "their key is not in SECRET_KEYS"))
        left.append(result.damaged.told(what, "they are damaged"))
    for line in filter(None, left):
        click.echo(line, err=True)
    if any(left):
        sys.exit(1)


async def _rotate(settings: Settings, keyring: Keyring) -> tuple[Resealed, ResealedList]:
    seal = Seal(keyring)
    async with opened(settings) as database:
        subscriptions = PushSubscriptionRepository(database, seal, in_milliseconds(utc_now))
        return await reseal_all(subscriptions, seal), await reseal_list(SuppressionRepository(database, keyring))
