"""Histories made by hand, and by objects that are right."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

from tests.harness.history.models import INVALID, MISMATCH, OK, REGISTER, SESSION, VERIFICATION
from tests.harness.history.record import NEVER, Fields, Operation


def operation(
    kind: str, name: str, told: Fields | None, begun: float, ended: float = NEVER, /, **given: str
) -> Operation:
    """Make an operation on the one object there is."""
    return Operation(kind, "key", name, given, told, begun, ended)


def ok(**told: str) -> Fields:
    """Make a good answer."""
    return {"outcome": OK, **told}


class RightObject:
    """An object that is used by its callers."""

    def hear(self, told: Fields) -> None:
        """Take note that an answer has reached its caller."""


@dataclass
class RightRegister(RightObject):
    """A register as it must be."""

    value: str = "first"
    etag: int = 1
    tries: int = 0

    def act(self, chance: random.Random) -> tuple[str, Fields, Fields]:
        """Do something; return its name, what was asked and what was answered."""
        if chance.random() < 0.4:
            return "read", {}, ok(value=self.value, etag=str(self.etag))
        self.tries += 1
        given = {"value": f"value {self.tries}", "etag": str(max(1, self.etag - chance.randrange(3)))}
        if given["etag"] != str(self.etag):
            return "write", given, {"outcome": MISMATCH}
        self.value, self.etag = given["value"], self.etag + 1
        return "write", given, ok(etag=str(self.etag))


@dataclass
class RightSession(RightObject):
    """A session as it must be; ``heard``: the tokens that callers know."""

    tokens: list[str] = field(default_factory=lambda: ["token 1"])
    heard: list[str] = field(default_factory=lambda: ["token 1"])
    live: bool = True

    def hear(self, told: Fields) -> None:
        """Take note that an answer has reached its caller."""
        if told.get("token"):
            self.heard.append(told["token"])

    def act(self, chance: random.Random) -> tuple[str, Fields, Fields]:
        """Do something; return its name, what was asked and what was answered."""
        if chance.random() < 0.1:
            self.live = False
            return "revoke", {}, ok()
        given = {"token": chance.choice(self.heard), "rotate": "yes"}
        if chance.random() < 0.5:
            return "validate", {"token": given["token"]}, ok() if self.live else {"outcome": INVALID}
        if not self.live:
            return "refresh", given, {"outcome": INVALID}
        if given["token"] != self.tokens[-1]:
            return "refresh", given, ok(token="")
        self.tokens.append(f"token {len(self.tokens) + 1}")
        return "refresh", given, ok(token=self.tokens[-1])


@dataclass
class RightVerification(RightObject):
    """A verification as it must be."""

    consumed: bool = False

    def act(self, _: random.Random) -> tuple[str, Fields, Fields]:
        """Consume it; return its name, what was asked and what was answered."""
        first, self.consumed = not self.consumed, True
        return "consume", {}, ok() if first else {"outcome": INVALID}


Right = RightRegister | RightSession | RightVerification
RIGHT: Final[dict[str, Callable[[], Right]]] = {
    REGISTER: RightRegister,
    SESSION: RightSession,
    VERIFICATION: RightVerification,
}
_CREATED: Final = {REGISTER: ok(etag="1"), SESSION: ok(token="token 1"), VERIFICATION: ok()}


def history_of(kind: str, seed: int, operations: int, *, overlap: float, unheard: float) -> list[Operation]:
    """Return a history of a right object, on which one operation after the other takes effect.

    ``overlap``: how long an operation may begin before its effect, and end after it, where effects are 1 apart.
    ``unheard``: the part of the operations of which no answer came; of half of these the request did not come either.
    """
    chance, right = random.Random(seed), RIGHT[kind]()
    made = [operation(kind, "create", _CREATED[kind], 0, 1, value="first")]
    for effect in range(2, 2 + operations):
        begun, ended = effect - chance.random() * overlap, effect + chance.random() * overlap
        is_unheard = chance.random() < unheard
        acting = deepcopy(right) if is_unheard and chance.random() < 0.5 else right
        name, given, told = acting.act(chance)
        if not is_unheard:
            acting.hear(told)
        heard = (None, NEVER) if is_unheard else (told, ended)
        made.append(Operation(kind, "key", name, given, heard[0], max(begun, 1), heard[1]))
    return made
