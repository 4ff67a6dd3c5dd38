"""Decision about a message that is about to be sent, by what its user prefers: now, later, or not at all.

It is called after the address was found not to be suppressed, which comes before all of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from notifications_service.outbox.model import Deferral, Kind, Reason
from notifications_service.preferences import quiet_hours
from notifications_service.preferences.model import ANY, Category, Mode, Preferences


@dataclass(frozen=True, slots=True)
class Question:
    """A message of a category, to a user, by a channel. ``now``: UTC, naive."""

    preferences: Preferences
    category: Category
    channel: str
    critical: bool
    kind: Kind
    now: datetime


@dataclass(frozen=True, slots=True)
class Proceed:
    """Proceed it now."""


@dataclass(frozen=True, slots=True)
class Suppress:
    """Do not send it, now or later."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Defer:
    """Ask again at ``until`` (UTC, naive)."""

    until: datetime
    deferral: Deferral


Decision: TypeAlias = Proceed | Suppress | Defer
# Returns what a rule says of a message; None: nothing.
PreferenceRule: TypeAlias = Callable[[Question], Mode | None]


def decide(question: Question) -> Decision:
    """Decide about one message. What is direct is sent whatever its user prefers."""
    if question.kind is Kind.DIRECT:
        return Proceed()
    if mode_of(question) is Mode.OFF:
        return Suppress(Reason.SUPPRESSED_PREFERENCE)
    if question.critical:
        return Proceed()
    until = quiet_hours.end_of(question.preferences, question.now)
    return Proceed() if until is None else Defer(until, Deferral.QUIET_HOURS)


def mode_of(question: Question) -> Mode:
    """Return what the first rule says that says something."""
    return next(mode for rule in RULES.values() if (mode := rule(question)) is not None)


def _critical(question: Question) -> Mode | None:
    return Mode.ON if question.critical else None


def _mandatory(question: Question) -> Mode | None:
    return Mode.ON if question.category.mandatory else None


def _channel_and_category(question: Question) -> Mode | None:
    return _of_category(question, question.channel)


def _category_alone(question: Question) -> Mode | None:
    return _of_category(question, ANY)


def _commercial(question: Question) -> Mode | None:
    return Mode.OFF if question.category.commercial else None


def _channel_alone(question: Question) -> Mode | None:
    return question.preferences.modes.get((question.channel, ANY))


def _everything(question: Question) -> Mode | None:
    return question.preferences.modes.get((ANY, ANY))


def _default(question: Question) -> Mode | None:
    return question.category.defaults.get(question.channel)


def _on(_: Question) -> Mode:
    return Mode.ON


def _of_category(question: Question, channel: str) -> Mode | None:
    name = question.category.name
    # Without a category there is nothing that an entry could name.
    return question.preferences.modes.get((channel, name)) if name else None


# In order: the first that says something decides. docs/preferences.md shows them.
RULES: Final[dict[str, PreferenceRule]] = {
    "critical": _critical,
    "mandatory category": _mandatory,
    "entry for channel and category": _channel_and_category,
    "entry for any channel and the category": _category_alone,
    "commercial category": _commercial,
    "entry for the channel and any category": _channel_alone,
    "entry for any channel and any category": _everything,
    "default of the category for the channel": _default,
    "otherwise": _on,
}
