"""Metrics of delivery: what was sent and failed, what waits, and for how long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

from chassis.telemetry.families import Family, by
from chassis.telemetry.registry import Registry
from notifications_service.clock import MillisecondClock
from notifications_service.delivery.numbers import Numbers
from notifications_service.notification.documents import Type
from notifications_service.outbox.repository import OutboxRepository

CHANNELS: Final = (Type.EMAIL.value, Type.PUSH.value)


def of_workers(registry: Registry, numbers: Numbers) -> None:
    """Add what the workers of this process have done."""

    def collect() -> Iterator[Family]:
        # From the start: of a counter that appears with its first event no rule sees that event.
        none = dict.fromkeys(((channel, state, "") for channel in CHANNELS for state in ("sent", "failed")), 0)
        ended = [
            ((("channel", channel), ("state", state), ("reason", reason)), float(number))
            for (channel, state, reason), number in (none | numbers.ended).items()
        ]
        yield Family("vibework_deliveries_ended_total", "counter", "Deliveries that came to their end here.", ended)
        put_off = [
            ((("channel", channel), ("deferral", deferral)), float(number))
            for (channel, deferral), number in numbers.put_off.items()
        ]
        yield Family("vibework_deliveries_put_off_total", "counter", "Deliveries put off to a later time.", put_off)
        yield Family(
            "vibework_deliveries_taken_over_total",
            "counter",
            "Deliveries taken over from a worker that did not record what it did.",
            by("channel", numbers.taken_over),
        )
        yield Family(
            "vibework_delivery_leases_lost_total",
            "counter",
            "Deliveries whose lease had run out, or that were gone, when their outcome was to be recorded.",
            by("channel", numbers.lost),
        )

    registry.add(collect)


def of_outbox(registry: Registry, outbox: OutboxRepository, clock: MillisecondClock) -> None:
    """Add what waits in the outbox, which is asked when metrics are read."""

    async def collect() -> AsyncIterator[Family]:
        found = {channel: await outbox.backlog(channel) for channel in CHANNELS}
        due = {channel: float(number) for channel, (number, _) in found.items()}
        yield Family("vibework_deliveries_due", "gauge", "Deliveries that are due, up to 100,000.", by("channel", due))
        now = clock()
        oldest = {
            channel: 0.0 if since is None else (now - since).total_seconds() for channel, (_, since) in found.items()
        }
        yield Family(
            "vibework_deliveries_oldest_due_seconds", "gauge", "How long the oldest is due.", by("channel", oldest)
        )

    registry.add_asking(collect)
