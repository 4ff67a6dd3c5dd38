"""What a load records of its calls, and in which form the checks want it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# When an operation ended that nobody heard of: it may take effect at any time after it was invoked, or never.
NEVER: Final = math.inf
OK: Final = "OK"

# What was answered, or what is asked for: names of fields with texts.
Fields = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """One call as its caller saw it; times in seconds of one monotonic clock.

    ``rpc``: ``Service/Method``. ``reason``: that of the error, or empty where the service itself said nothing.
    ``patient``: whether the caller repeats calls as docs/retries.md allows. ``words``: what gRPC said in place of the
    service.
    """

    rpc: str
    invoked: float
    ended: float
    code: str = OK
    reason: str = ""
    patient: bool = False
    words: str = ""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one object, for the search for an order.

    ``kind``: of the object, which says by what model it is judged. ``told`` None: nobody knows how it ended.
    """

    kind: str
    key: str
    name: str
    given: Fields
    told: Fields | None
    invoked: float
    ended: float = NEVER

    def __post_init__(self) -> None:
        if (self.told is None) != (self.ended == NEVER):
            raise ValueError("an operation has an end if it has an answer")


@dataclass(frozen=True, slots=True)
class Creation:
    """One call that was to make something, and marked it with a nonce that no other call has.

    ``rows``: how many things it makes. ``ids``: of what it has made, as answered; None: nobody knows. ``echoed``: the
    nonces in the answer, which must all be its own.
    """

    kind: str
    nonce: str
    request_id: str = ""
    rows: int = 1
    ids: tuple[str, ...] | None = None
    echoed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removal:
    """One call that was to remove a thing; ``known``: it was answered, so that the thing must be gone."""

    kind: str
    id: str
    known: bool


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a watch.

    ``stream``: of one watcher, which resumes after every loss. ``revision``: of the state that the event tells; 0 for
    one without.
    """

    stream: str
    kind: str
    id: str
    revision: int = 0

    @property
    def change(self) -> tuple[str, str, int]:
        """The change that is told, whoever is told of it."""
        return self.kind, self.id, self.revision


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was acknowledged, and of which the streams named must tell."""

    kind: str
    id: str
    revision: int
    streams: tuple[str, ...]


@dataclass
class History:
    """All that was recorded between two checks. Lists grow; nothing is changed."""

    calls: list[Call] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    creations: list[Creation] = field(default_factory=list)
    removals: list[Removal] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True)
class Stored:
    """What the databases hold in the end: by kind, the nonce of each id."""

    rows: Mapping[str, Mapping[str, str]]

    def of(self, kind: str) -> Mapping[str, str]:
        """Return the rows of a kind."""
        return self.rows.get(kind, {})
