"""The objects of both services whose histories are searched for an order, each as a model.

| kind | object | operations |
|---|---|---|
| ``register`` | what has an etag (AIP-154): a user, a notification, preferences | create, read, write, delete |
| ``session`` | a session and its tokens | create, validate, refresh, revoke |
| ``verification`` | a secret that is consumed at most once | create, consume |

An answer has the field ``outcome``: ``ok``, or what kept the operation from its effect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tests.harness.history.record import Fields, Operation
from tests.harness.history.search import Model, S

REGISTER: Final = "register"
SESSION: Final = "session"
VERIFICATION: Final = "verification"

OK: Final = "ok"
# Of a register: another etag; none there. Of a session: no live one has that token. Of a verification: consumed before.
MISMATCH: Final = "mismatch"
MISSING: Final = "missing"
INVALID: Final = "invalid"

# What an operation leads to from a state: None where it cannot have had that answer there.
Step = Callable[[S, Fields, Fields | None], S | None]


def _model(initial: S, steps: Mapping[str, Step[S]]) -> Model[S]:
    def step(state: S, operation: Operation) -> S | None:
        return steps[operation.name](state, operation.given, operation.told)

    return Model(initial, step)


@dataclass(frozen=True, slots=True)
class Register:
    """The state of a register; ``etag`` empty: that of a write whose answer nobody heard."""

    there: bool = False
    value: str = ""
    etag: str = ""

    def may_have(self, etag: str) -> bool:
        """Say whether this may be its etag; empty: any."""
        return self.there and (not etag or not self.etag or self.etag == etag)

    def refuses(self, given: Fields, outcome: str) -> bool:
        """Say whether this is why something is refused."""
        return not self.there if outcome == MISSING else self.there and self.etag != given.get("etag", "")


def _create_register(state: Register, given: Fields, told: Fields | None) -> Register | None:
    made = Register(there=True, value=given["value"], etag=told["etag"] if told else "")
    return None if state.there else made


def _read(state: Register, given: Fields, told: Fields | None) -> Register | None:
    if told is None or told["outcome"] != OK:
        return state if told is None or state.refuses(given, told["outcome"]) else None
    fits = state.may_have(told["etag"]) and state.value == told["value"]
    return replace(state, etag=told["etag"]) if fits else None


def _write(state: Register, given: Fields, told: Fields | None) -> Register | None:
    if told is not None and told["outcome"] != OK:
        return state if state.refuses(given, told["outcome"]) else None
    etag = told["etag"] if told else ""
    fits = state.may_have(given.get("etag", "")) and (not etag or etag != state.etag)
    return Register(there=True, value=given["value"], etag=etag) if fits else None


def _delete(state: Register, given: Fields, told: Fields | None) -> Register | None:
    if told is not None and told["outcome"] != OK:
        return state if state.refuses(given, told["outcome"]) else None
    return Register() if state.may_have(given.get("etag", "")) else None


@dataclass(frozen=True, slots=True)
class Session:
    """The state of a session; ``token`` empty: a new one that nobody heard of.

    ``replaced``: tokens of before, which are in their grace period: histories of sessions are shorter than that.
    """

    live: bool = False
    ended: bool = False
    token: str = ""
    replaced: frozenset[str] = frozenset()

    def opens(self, token: str) -> bool:
        """Say whether a token opens the session."""
        return self.live and (token == self.token or token in self.replaced)


def _create_session(state: Session, given: Fields, told: Fields | None) -> Session | None:
    made = Session(live=True, token=told["token"] if told else "")
    return None if state.live or state.ended else made


def _validate(state: Session, given: Fields, told: Fields | None) -> Session | None:
    fits = told is None or state.opens(given["token"]) == (told["outcome"] == OK)
    return state if fits else None


def _refresh(state: Session, given: Fields, told: Fields | None) -> Session | None:
    token, opens = given["token"], state.opens(given["token"])
    if told is not None and told["outcome"] == INVALID:
        return None if opens else state
    if not opens:
        return None
    replaces = given["rotate"] == "yes" and token == state.token
    if told is not None and replaces != bool(told["token"]):
        # It was to replace the token, and did not, although no other had; or it did, and another had.
        return None
    new = told["token"] if told else ""
    return replace(state, token=new, replaced=state.replaced | {token}) if replaces else state


def _revoke(state: Session, given: Fields, told: Fields | None) -> Session | None:
    return replace(state, live=False, ended=True)


@dataclass(frozen=True, slots=True)
class Verification:
    """The state of a verification."""

    there: bool = False
    consumed: bool = False


def _create_verification(state: Verification, given: Fields, told: Fields | None) -> Verification | None:
    return None if state.there else Verification(there=True)


def _consume(state: Verification, given: Fields, told: Fields | None) -> Verification | None:
    if told is not None and told["outcome"] == INVALID:
        return state if state.consumed else None
    return replace(state, consumed=True) if state.there and not state.consumed else None


MODELS: Final[Mapping[str, Model[Any]]] = {
    REGISTER: _model(Register(), {"create": _create_register, "read": _read, "write": _write, "delete": _delete}),
    SESSION: _model(
        Session(), {"create": _create_session, "validate": _validate, "refresh": _refresh, "revoke": _revoke}
    ),
    VERIFICATION: _model(Verification(), {"create": _create_verification, "consume": _consume}),
}
