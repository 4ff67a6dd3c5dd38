"""The policy: which callers may call which RPCs, and how often. What no rule grants is denied.

A file of TOML (docs/access.md)::

    [[rules]]
    callers = ["spiffe://example.org/ns/web/*"]
    rpcs = ["read", "sign-in", "SessionService/CreateSession"]
    calls_per_second = 200

A ``*`` in a caller or an RPC stands for any characters. A call is allowed if one rule at least names its caller and its
RPC; of those rules each that has a rate counts it, for each caller apart.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Annotated, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from chassis.access.errors import CallerForbidden, CallerRateLimited
from chassis.access.groups import CONTRACT, GROUPS, short
from chassis.access.rates import Bucket, Rate
from chassis.settings import describe, unreadable

# Decisions that are remembered, and rates that are counted, each of one caller: beyond that the oldest are forgotten.
MOST_REMEMBERED: Final = 20_000
MOST_BYTES: Final = 1024 * 1024
# Characters of a method's name; no real one has more.
LONGEST_NAME: Final = 256

Pattern: TypeAlias = Annotated[str, Field(min_length=1, max_length=2_048, pattern=r"^[!-~]+$")]
# Buckets of the rates that count a call; None: it is denied.
_Decision: TypeAlias = "tuple[Bucket, ...] | None"


class PolicyWrong(Exception):
    """A policy cannot be used; the text is one line that names what is wrong with it."""


class _Written(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Rule(_Written):
    callers: Annotated[list[Pattern], Field(min_length=1)]
    rpcs: Annotated[list[Pattern], Field(min_length=1)]
    calls_per_second: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    burst: Annotated[int, Field(ge=1, le=10_000_000)] | None = None

    @model_validator(mode="after")
    def _burst_is_of_a_rate(self) -> _Rule:
        if self.burst is not None and self.calls_per_second is None:
            raise ValueError("burst goes with calls_per_second")
        return self


class _File(_Written):
    rules: Annotated[list[_Rule], Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class PolicyRule:
    """One rule: the callers and RPCs as they were written, what they match, and the rate, if it has one."""

    number: int
    callers: tuple[str, ...]
    rpcs: tuple[str, ...]
    rate: Rate | None
    names_caller: Callable[[str], object]
    names_rpc: Callable[[str], object]

    def grants(self, caller: str, rpc: str) -> bool:
        """Say whether the rule names both."""
        return bool(self.names_caller(caller) and self.names_rpc(rpc))


class Policy:
    """The rules of one file. ``now``: a monotonic clock, in seconds."""

    def __init__(self, rules: Iterable[PolicyRule], now: Callable[[], float] = monotonic) -> None:
        self.rules = tuple(rules)
        self._now = now
        self._decisions: dict[tuple[str, str], _Decision] = {}
        self._buckets: dict[tuple[str, int], Bucket] = {}

    def admit(self, caller: str, method: str) -> None:
        """Count a call, or raise ``CallerForbidden`` or ``CallerRateLimited``; ``method`` is one that there is."""
        key = (caller, method)
        try:
            decision = self._decisions[key]
        except KeyError:
            _make_room(self._decisions)
            decision = self._decisions[key] = self._decide(caller, short(method))
        if decision is None:
            raise CallerForbidden(caller, method.removeprefix("/"))
        if decision:
            self._count(decision)

    def admit_unlisted(self, caller: str, method: str) -> None:
        """Do the same for a method that does not exist, whose name is the caller's to choose, so it is not kept."""
        decision = self._decide(caller, short(method)) if len(method) <= LONGEST_NAME else None
        if decision is None:
            raise CallerForbidden(caller, None)
        self._count(decision)

    def granting(self, caller: str, rpc: str) -> list[PolicyRule]:
        """Return the rules that let a caller call an RPC (``Service/Method``); none: it is denied."""
        return [rule for rule in self.rules if rule.grants(caller, rpc)]

    def _decide(self, caller: str, rpc: str) -> _Decision:
        granting = self.granting(caller, rpc)
        if not granting:
            return None
        return tuple(self._bucket(caller, rule.number, rule.rate) for rule in granting if rule.rate is not None)

    def _bucket(self, caller: str, rule: int, rate: Rate) -> Bucket:
        key = (caller, rule)
        if key not in self._buckets:
            _make_room(self._buckets)
            self._buckets[key] = Bucket(rate, self._now())
        return self._buckets[key]

    def _count(self, buckets: tuple[Bucket, ...]) -> None:
        now = self._now()
        for bucket in buckets:
            if seconds := bucket.wait(now):
                raise CallerRateLimited("calls", bucket.rate.calls_per_second, timedelta(seconds=seconds))
        for bucket in buckets:
            bucket.take()


def read(path: Path, methods: Iterable[str]) -> Policy:
    """Read a policy. ``methods``: full names of those that this server has; those of the pair are known besides.

    Raises PolicyWrong, as ``parse``.
    """
    if why := unreadable(path):
        raise PolicyWrong(why)
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise PolicyWrong("the file is larger than 1 MiB")
    return parse(content, methods)


def parse(content: bytes, methods: Iterable[str], now: Callable[[], float] = monotonic) -> Policy:
    """Return the policy that a text is. Raises PolicyWrong where it is none, or names a group or an RPC in vain."""
    try:
        written = _File.model_validate(tomllib.loads(content.decode()))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PolicyWrong(f"the file is no TOML: {error}") from None
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        raise PolicyWrong("; ".join(_where(describe(problem)) for problem in problems)) from None
    known = CONTRACT | {short(method) for method in methods}
    return Policy((_rule(number, rule, known) for number, rule in enumerate(written.rules, 1)), now)


def _where(problem: str) -> str:
    """Say it as the file does: rules are counted from 1, and keys are in small letters."""
    place, _, rule = problem.partition(":")
    counted = re.sub(r"^RULES\.(\d+)", lambda found: f"rule {int(found[1]) + 1}", place)
    return f"{counted.lower()}:{rule}" if rule else counted.lower()


def _rule(number: int, rule: _Rule, known: frozenset[str]) -> PolicyRule:
    rpcs = frozenset().union(*(_rpcs(name, number, known) for name in rule.rpcs))
    patterns = _matching([_short_pattern(name) for name in rule.rpcs if "*" in name])
    return PolicyRule(
        number,
        tuple(rule.callers),
        tuple(rule.rpcs),
        _rate(rule),
        _matching(rule.callers),
        # A pattern grants what it matches, be it there or not: who may call all of a service is told METHOD_UNKNOWN.
        lambda rpc: rpc in rpcs or patterns(rpc),
    )


def _rpcs(name: str, number: int, known: frozenset[str]) -> frozenset[str]:
    """Return the RPCs that an entry names: a group, an RPC with or without its package, or a pattern."""
    if name in GROUPS:
        return GROUPS[name]
    matches = _matching([_short_pattern(name)])
    found = frozenset(rpc for rpc in known if matches(rpc))
    if not found:
        what = "RPC" if "/" in name or "*" in name else "group"
        raise PolicyWrong(f"rule {number}: there is no {what} {name}")
    return found


def _short_pattern(name: str) -> str:
    return short(name) if "/" in name else name


def _rate(rule: _Rule) -> Rate | None:
    if rule.calls_per_second is None:
        return None
    return Rate(rule.calls_per_second, max(1.0, rule.burst or rule.calls_per_second))


def _matching(patterns: list[str]) -> Callable[[str], object]:
    """Return what says whether one of the patterns is a text's, whole."""
    if not patterns:
        return lambda _: False
    texts = ("[ -~]*".join(re.escape(part) for part in pattern.split("*")) for pattern in patterns)
    return re.compile("|".join(f"(?:{text})" for text in texts)).fullmatch


def _make_room(remembered: dict[tuple[str, str], _Decision] | dict[tuple[str, int], Bucket]) -> None:
    if len(remembered) >= MOST_REMEMBERED:
        # The oldest: a dictionary keeps the order in which its entries came.
        del remembered[next(iter(remembered))]  # type: ignore[arg-type]
