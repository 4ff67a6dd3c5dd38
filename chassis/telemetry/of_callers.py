"""Metrics of what decides about callers."""

from __future__ import annotations

import math
from collections.abc import Iterator

from chassis.access.assembly import Access
from chassis.telemetry.families import Family, gauge


def of_callers(access: Access) -> Iterator[Family]:
    """Yield whether the policy in force is the one of its file, and how old the keys of tokens are."""
    stale = access.policy is not None and access.policy.stale
    help_ = "1 while the policy's file cannot be used, and an older one is."
    yield gauge("vibework_access_policy_stale", help_, int(stale))
    help_ = "Seconds since the key set of tokens was last read; infinite before the first time, 0 where none are taken."
    yield gauge("vibework_access_keys_age_seconds", help_, _age(access))


def _age(access: Access) -> float:
    if access.keys is None:
        return 0.0
    return math.inf if access.keys.age is None else access.keys.age
