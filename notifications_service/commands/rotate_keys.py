"""``notifications-service rotate-keys``."""

from __future__ import annotations

import sys

import click

from chassis.clock import utc_now
from chassis.commands.cli import run
from chassis.commands.resealed import Resealed
from chassis.keyring import Keyring
from chassis.settings import load
from notifications_service.clock import in_milliseconds
from notifications_service.commands.connection import opened
from notifications_service.outbox.direct import DirectSeal
from notifications_service.outbox.resealing import SealedDeliveries, reseal_direct
from notifications_service.push_subscriptions.model import Seal
from notifications_service.push_subscriptions.repository import PushSubscriptionRepository
from notifications_service.push_subscriptions.resealing import reseal_all
from notifications_service.settings import Settings
from notifications_service.suppressions.repository import SuppressionRepository
from notifications_service.suppressions.resealing import reseal_list


@click.command("rotate-keys")
def rotate_keys() -> None:
    """Seal all that rests sealed anew under the first of SECRET_KEYS.

    That is push subscriptions, the suppression list, and what SendDirect was given: contents and addresses. Safe beside
    live traffic, and started again after an interruption. What cannot be opened is left as it is, counted and named;
    then the exit code is 1.
    """
    settings = load(Settings)
    keyring = Keyring.parse(settings.secret_keys.get_secret_value())
    left: list[str] = []
    for what, result in run(_rotate(settings, keyring)).items():
        click.echo(f"{result.done} {what} sealed anew under key {keyring.primary}")
        left += result.told(what)
    for line in left:
        click.echo(line, err=True)
    if left:
        sys.exit(1)


async def _rotate(settings: Settings, keyring: Keyring) -> dict[str, Resealed]:
    seal = Seal(keyring)
    async with opened(settings) as database:
        subscriptions = PushSubscriptionRepository(database, seal, in_milliseconds(utc_now))
        return {
            "push subscriptions": await reseal_all(subscriptions, seal),
            "suppressions": await reseal_list(SuppressionRepository(database, keyring)),
            "direct deliveries": await reseal_direct(SealedDeliveries(database), DirectSeal(keyring)),
        }
