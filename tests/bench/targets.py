"""What is to be reached, as data: ratios within one round, differences of latency, and plain figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

IN_FLIGHT = 64


@dataclass(frozen=True)
class Ratio:
    """Calls per second of one subject, in parts of another's measured in the same round."""

    title: str
    subject: str
    reference: str
    at_least: float | None

    def values(self, rates: Mapping[str, Sequence[float]]) -> list[float]:
        """Return the ratio of each round."""
        return [one / other for one, other in zip(rates[self.subject], rates[self.reference], strict=True)]


@dataclass(frozen=True)
class Excess:
    """Median latency, at one call in flight, beyond the sum of others', in ms; ``within``: what those have beside."""

    title: str
    subject: str
    parts: tuple[str, ...]
    at_most: float | None
    within: tuple[str, ...] = ()

    def values(self, p50: Mapping[str, Sequence[float]]) -> list[float]:
        """Return the excess of each round."""
        rounds = range(len(p50[self.subject]))
        return [p50[self.subject][each] - self._taken(p50, each) for each in rounds]

    @property
    def subjects(self) -> set[str]:
        """All that must have been measured."""
        return {self.subject, *self.parts, *self.within}

    def _taken(self, p50: Mapping[str, Sequence[float]], number: int) -> float:
        return sum(p50[part][number] for part in self.parts) - sum(p50[part][number] for part in self.within)


@dataclass(frozen=True)
class Outcome:
    """What a run says of a target."""

    title: str
    unit: Literal["x", "ms", "s", "MiB", "KiB", "events"]
    values: Sequence[float]
    bound: float | None
    # Whether more is better.
    rising: bool
    # The same ratio by the servers' processor time per call in their best rounds: steadier on a busy machine.
    by_cpu: float | None = None

    @property
    def value(self) -> float:
        """Return the median of the rounds."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Say whether the bound holds; None where there is none."""
        if self.bound is None:
            return None
        return self.value >= self.bound if self.rising else self.value <= self.bound


def _of_echo(name: str, key: str, at_least: float) -> Ratio:
    return Ratio(f"{name} / bare echo", f"{key}/service", f"{key}/echo", at_least)


def _of_small(name: str, key: str, subject: str = "service") -> Ratio:
    return Ratio(f"{name}, all rows / a hundredth", f"{key}/{subject}", f"{key}/small", 0.90)


def _beyond_echo(name: str, key: str, subject: str = "service", at_most: float | None = 0.5) -> Excess:
    parts = (f"{key}@1/echo", f"{key}@1/driver")
    return Excess(f"{name}, 1 in flight: p50 beyond echo and database", f"{key}@1/{subject}", parts, at_most)


def _beyond_read(name: str, key: str) -> Excess:
    parts = (f"{key}@1/through",)
    return Excess(f"{name}, 1 in flight: p50 beyond an echo that asks the database", f"{key}@1/service", parts, 0.5)


def _beyond_database(name: str, key: str) -> Iterator[Excess]:
    """Yield how far one call over the other transport is from what the database takes for it.

    A driver that is called back to back takes less than one that has rested since the last call, as in a service; what
    that one takes is what an echo that asks the database takes beyond an echo. What is beyond that and the transport's
    own echo is ours.
    """
    title, subject = f"{name}, native, 1 in flight: p50 beyond", f"{key}@1/native"
    yield Excess(f"{title} the database", subject, (f"{key}@1/driver",), 0.5)
    yield Excess(
        f"{title} the database that rests between calls", subject, (f"{key}@1/through",), None, (f"{key}@1/echo",)
    )
    beyond_both = (f"{key}@1/through", f"{key}@1/native_echo")
    yield Excess(f"{title} that database and a native echo", subject, beyond_both, None, (f"{key}@1/echo",))


READS = {
    "validate": "ValidateSession",
    "get_user": "GetUser",
    "get": "GetNotification",
    "list": "ListNotifications",
    "count": "CountNotifications",
}
# What is measured over the other transport as well, and how much faster it is to be there than over the default one.
NATIVE: Sequence[tuple[str, str, float | None]] = (
    ("validate", "ValidateSession", None),
    ("get_user", "GetUser by id", None),
    ("create", "CreateNotification", 1.6),
    ("get", "GetNotification", None),
    ("list", "ListNotifications, 20", 1.4),
)
# What is compared with a read that is written by hand in Go, whatever it reads itself, and how near it is to come over
# the other transport. Over the default one ValidateSession alone, and without a target.
OF_GO: Sequence[tuple[str, str, float]] = (
    ("validate", "ValidateSession", 0.9),
    ("get_user", "GetUser by id", 0.8),
    ("get", "GetNotification", 0.8),
)
RATIOS = (
    _of_echo("ValidateSession", "validate", 0.70),
    _of_echo("GetUser by id", "get_user", 0.70),
    _of_echo("CreateNotification", "create", 0.50),
    _of_echo("GetNotification", "get", 0.55),
    _of_echo("ListNotifications, 20", "list", 0.35),
    _of_echo("CountNotifications, 3 filters", "count", 0.40),
    Ratio("SignIn / argon2-cffi on all cores", "sign_in/service", "sign_in/hash", 0.90),
    Ratio("SignIn / libsodium on all cores", "sign_in/service", "sign_in/pool", 0.90),
    Ratio("Two workers / one", "workers/two", "workers/one", 1.8),
    Ratio("Page 1,000 / page 1", "deep/last", "deep/first", 0.90),
    *(_of_small(name, key, "few" if key == "count" else "service") for key, name in READS.items()),
    Ratio("ValidateSession / the read in Go", "validate/service", "validate/go", None),
    *(Ratio(f"{name}, native / grpcio", f"{key}/native", f"{key}/service", bound) for key, name, bound in NATIVE),
    *(
        Ratio(f"{name}, native / bare native echo", f"{key}/native", f"{key}/native_echo", None)
        for key, name, _ in NATIVE
    ),
    *(Ratio(f"{name}, native / the read in Go", f"{key}/native", f"{key}/go", bound) for key, name, bound in OF_GO),
    Ratio("ValidateSession / handler on the ORM", "validate/service", "validate/orm", None),
    Ratio("GetUser / handler on the ORM", "get_user/service", "get_user/orm", None),
)
EXCESSES = (
    *(_beyond_echo(name, key) for key, name in READS.items()),
    _beyond_echo("CreateNotification, recipient known", "create"),
    *(_beyond_read(name, key) for key, name in (READS | {"create": "CreateNotification, recipient known"}).items()),
    *(excess for key, name, _ in NATIVE for excess in _beyond_database(name, key)),
    # One more call and read, by the users service, which the reference does not contain.
    _beyond_echo("CreateNotification, recipient to ask about", "create", "unmet", at_most=None),
)
IDLE_MIB = 110.0
START_SECONDS = 2.0
WATCH_MS = 250.0
