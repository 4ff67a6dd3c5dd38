"""Running faults one after the other under load, each with a history of its own, and judging what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from vibework.client._retrying import NO_EFFECT

from tests.harness.history.record import History
from tests.harness.history.verdict import CHECKS, Verdict, judge
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.promised import promises
from tests.reliability.cluster import Cluster, Small
from tests.reliability.faults import Fault, nothing
from tests.reliability.load.caller import UNCLEAR
from tests.reliability.load.running import Load
from tests.reliability.recovery import (
    FIRST_GOOD_SECONDS,
    HEALTH_SECONDS,
    Healths,
    Held,
    back_to_idle,
    first_good,
    watching_health,
)
from tests.reliability.stored import settle, stored, unacknowledged

STEADY_SECONDS: Final = 2.0
# What did not come about for a reason that lies in the fault.
UNSERVED: Final = NO_EFFECT | UNCLEAR


@dataclass
class Result:
    """What came of a fault; ``broken``: by check, what breaks it."""

    fault: Fault
    checked: Mapping[str, int] = field(default_factory=dict)
    # Of calls of patient clients and of others: those that came to nothing because of the fault, and all.
    failed: dict[bool, tuple[int, int]] = field(default_factory=dict)
    broken: dict[str, list[str]] = field(default_factory=dict)
    # Times that were not kept, on a machine that does not keep them without a fault.
    unjudged: list[str] = field(default_factory=list)
    flipped: float | None = None
    back: float | None = None
    first_good: float | None = None
    memory_mib: float = 0.0
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        """Say whether nothing breaks it."""
        return not self.broken

    def breaks(self, check: str, *what: str) -> None:
        """Note what breaks it."""
        if what:
            self.broken.setdefault(check, []).extend(what)


@dataclass
class Suite:
    """A cluster and the load on it."""

    cluster: Cluster
    load: Load
    seconds: float | None = None
    usual: dict[str, Held] = field(default_factory=dict)
    numbers: int = 0
    is_busy: bool = False

    def run(self, fault: Fault) -> Result:
        """Let a fault happen under load, and judge what came of it."""
        begun, result = time.monotonic(), Result(fault)
        self.numbers += 1
        with self.cluster.with_tls() if fault.tls else nullcontext():
            self._under_load(result, f"e{self.numbers}x")
        self._look_at_processes(result)
        result.seconds = time.monotonic() - begun
        self._forgive(result)
        return result

    def _under_load(self, result: Result, name: str) -> None:
        fault = result.fault
        self.load.begin(name, only_patient=fault.patient, tls=self.cluster.tls)
        time.sleep(STEADY_SECONDS)
        with watching_health(self.cluster.served) as healths:
            faulty = time.monotonic()
            with fault.begin(self.cluster):
                time.sleep(fault.seconds if self.seconds is None else self.seconds)
            self._recover(result, healths, faulty, time.monotonic())
        time.sleep(STEADY_SECONDS)
        self.load.pause()
        if left := settle(self.cluster):
            result.breaks("lost", f"{left} events wait in the outbox")
        self.load.resume()
        history, ended = self.load.end()
        result.breaks("load", *ended)
        self._judge(result, history, name)

    def _forgive(self, result: Result) -> None:
        """Judge no times where the machine is so busy that they are not kept without any fault either."""
        if result.fault.begin is nothing:
            self.is_busy = "times" in result.broken
        if self.is_busy:
            result.unjudged = result.broken.pop("times", [])

    def _recover(self, result: Result, healths: Healths, faulty: float, healed: float) -> None:
        good = first_good(self.cluster)
        result.breaks("recovery", *(f"{name} took no write" for name, seconds in good.items() if seconds is None))
        at = {name: PATIENCE_SECONDS if seconds is None else seconds for name, seconds in good.items()}
        behind = {each.name: at[each.name] - at[_database_of(each.package)] for each in self.cluster.served}
        result.first_good = max(0.0, *behind.values())
        if result.first_good > FIRST_GOOD_SECONDS:
            slow = max(behind, key=lambda name: behind[name])
            result.breaks("times", f"first good call of {slow} {behind[slow]:.1f} s after the database's")
        side = result.fault.away
        names = [each.name for each in self.cluster.served if not side or each.package == f"{side}_service"]
        _await_health(healths, names)
        since = healed + (max(at["mysql"], at["mongodb"]) if side else 0.0)
        result.back = healths.after(names, since, well=True)
        if result.back is None or result.back > HEALTH_SECONDS:
            result.breaks("times", f"health back after {_shown(result.back)}")
        if side:
            result.flipped = healths.after(names, faulty, well=False)
            if result.flipped is None or result.flipped > HEALTH_SECONDS:
                result.breaks("times", f"health away after {_shown(result.flipped)}")

    def _judge(self, result: Result, history: History, name: str) -> None:
        verdict = verdict_of(self.cluster, history, name)
        for check in CHECKS:
            result.breaks(check, *verdict.broken.get(check, ()))
        result.breaks("order", *(f"{each}: undecided" for each in verdict.undecided))
        result.checked = verdict.checked
        result.failed = {
            patient: (
                sum(
                    each.patient is patient and each.code != "OK" and each.reason in UNSERVED for each in history.calls
                ),
                sum(each.patient is patient for each in history.calls),
            )
            for patient in (False, True)
        }
        if result.fault.patient and result.failed[True][0]:
            failed = {
                f"{each.rpc} {each.code} {each.reason or each.words}"
                for each in history.calls
                if each.code != "OK" and each.reason in UNSERVED
            }
            result.breaks("failed", *sorted(failed))

    def _look_at_processes(self, result: Result) -> None:
        now, too_much = back_to_idle(self.cluster, self.usual)
        if not self.usual:
            self.usual = now
        result.memory_mib = max(each.memory_mib - self.usual[name].memory_mib for name, each in now.items())
        result.breaks("idle", *too_much)


def verdict_of(cluster: Cluster | Small, history: History, name: str) -> Verdict:
    """Judge a history, whose nonces begin with a name, against what the databases hold."""
    found = stored(cluster, name)
    history.changes.extend(unacknowledged(history, found, name))
    return judge(history, found, _promised)


def _await_health(healths: Healths, names: Sequence[str]) -> None:
    end = time.monotonic() + 2 * HEALTH_SECONDS
    while time.monotonic() < end and not all(healths.changes[name] and healths.changes[name][-1][1] for name in names):
        time.sleep(0.05)


def _shown(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f} s"


def _database_of(package: str) -> str:
    return "mysql" if package == "users_service" else "mongodb"


@cache
def _promised(rpc: str) -> frozenset[str]:
    """Return the reasons that the contract names for ``Service/Method``."""
    return next(reasons for name, reasons in promises().items() if name.endswith(f".{rpc}"))
