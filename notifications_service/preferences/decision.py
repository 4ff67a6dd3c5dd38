"""Decision about a message that is about to be sent, by what its user prefers: now, later, with others, or not at all.

It is called after the address was found not to be suppressed, which comes before all of this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, TypeAlias

from notifications_service.outbox.model import Deferral, Kind, Reason
from notifications_service.preferences import digest_times, quiet_hours
from notifications_service.preferences.model import ANY, DIGESTS, Category, Mode, Preferences


@dataclass(frozen=True, slots=True)
class Question:
    """A message of a category, to a user, by a channel. ``now``: UTC, naive.

    ``since``: when it was there to be sent, and so which digest is its own; None: now.
    """

    preferences: Preferences
    category: Category
    channel: str
    critical: bool
    kind: Kind
    now: datetime
    since: datetime | None = None


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


@dataclass(frozen=True, slots=True)
class Gather:
    """The hour of its digest has come: it goes with the others of its category."""


Decision: TypeAlias = Proceed | Suppress | Defer | Gather
# Returns what a rule says of a message; None: nothing.
PreferenceRule: TypeAlias = Callable[[Question], Mode | None]


def decide(question: Question) -> Decision:
    """Decide about one message. What is direct is sent whatever its user prefers."""
    if question.kind is Kind.DIRECT:
        return Proceed()
    mode = mode_of(question)
    if mode is Mode.OFF:
        return Suppress(Reason.SUPPRESSED_PREFERENCE)
    if question.critical:
        return Proceed()
    if mode in DIGESTS and question.kind is Kind.NOTIFICATION:
        return _digested(question, mode)
    until = quiet_hours.end_of(question.preferences, question.now)
    return Proceed() if until is None else Defer(until, Deferral.QUIET_HOURS)


def _digested(question: Question, mode: Mode) -> Decision:
    """Decide about what goes into a digest. One whose hour is in quiet hours is sent at their end."""
    hour = digest_times.next_after(question.preferences, mode, question.since or question.now)
    due = quiet_hours.end_of(question.preferences, hour) or hour
    if due > question.now:
        return Defer(due, Deferral.DIGEST)
    until = quiet_hours.end_of(question.preferences, question.now)
    return Gather() if until is None else Defer(until, Deferral.QUIET_HOURS)


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
