"""Cases: a seed and a number make a request, always the same one, but for the ids of the rows that it names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Final

from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError

from tests.contract.fieldpaths import method_of
from tests.contract.requests import REQUESTS
from tests.fuzzing import plausible
from tests.fuzzing.attacks import ATTACKS
from tests.fuzzing.mutations import MUTATIONS, Draft
from tests.fuzzing.rows import Rows

# Their passwords are hashed at the cost that production has, so that others would hardly have their turn.
HASHING: Final = frozenset({"SignUp", "SignIn", "SetPassword", "ChangePassword", "ResetPassword"})
SHOWN: Final = 4_000
# One in so many cases is an attack below the calls.
EACH: Final = 25
ATTACKED: Final = (
    "vibework.users.v1.UserService/GetUser",
    "vibework.notifications.v1.PreferenceService/GetPreferences",
)


@dataclass(frozen=True)
class Case:
    """A request as it is sent. ``rpc``: `package.Service/Method`."""

    seed: int
    number: int
    rpc: str
    mutation: str
    content: bytes
    metadata: tuple[tuple[str, str | bytes], ...]

    def __str__(self) -> str:
        """Return the request as JSON where it is one, else its bytes in hexadecimal; and how to send it again."""
        return (
            f"{self.rpc}, {self.mutation}: {self._shown()[:SHOWN]}"
            f"{f' with {self.metadata!r}'[:SHOWN] if self.metadata else ''}"
            f"\n    again: {again(self.seed, self.number)}"
        )

    def _shown(self) -> str:
        request = message_factory.GetMessageClass(method_of(self.rpc).input_type)()
        try:
            request.ParseFromString(self.content)
            text = json_format.MessageToJson(request, indent=None)
        except (DecodeError, ValueError, json_format.Error):
            return f"hex {self.content.hex()}"
        return text if request.SerializeToString() == self.content else f"{text}, hex {self.content.hex()}"


def case(seed: int, number: int, rows: Rows) -> Case:
    """Return a case."""
    rng = _random(seed, number)
    rpc = rng.choices(*_rpcs())[0]
    names, weights = _mutations()
    name = rng.choices(names, weights)[0]
    draft = Draft(rng, method_of(rpc), _request(rpc, rows, rng, number), rows)
    content = MUTATIONS[name][0](draft)
    return Case(seed, number, rpc, name, content, tuple(draft.metadata))


@dataclass(frozen=True)
class Attacked:
    """An attack on a service. ``rpc``: a unary one of it, `package.Service/Method`."""

    seed: int
    number: int
    rpc: str
    mutation: str

    def __str__(self) -> str:
        """Say what it was, and how to do it again."""
        return f"{self.mutation}, towards {self.rpc}\n    again: {again(self.seed, self.number)}"

    async def carry_out(self, port: int) -> str:
        """Do it, and return how it ended."""
        return await ATTACKS[self.mutation](port, f"/{self.rpc}".encode(), _random(self.seed, self.number))


def attack(seed: int, number: int) -> Attacked | None:
    """Return the attack that has this number; None where it is that of a request."""
    if number % EACH != EACH - 1:
        return None
    rng = Random(f"attack {seed} {number}")
    return Attacked(seed, number, rng.choice(ATTACKED), rng.choice(list(ATTACKS)))


def again(seed: int, number: int) -> str:
    """Return the command that sends a case again."""
    return f"script/fault --fuzz --seed {seed} --case {number}"


def _random(seed: int, number: int) -> Random:
    return Random(f"{seed} {number}")


@cache
def _rpcs() -> tuple[tuple[str, ...], tuple[float, ...]]:
    names = tuple(sorted(REQUESTS))
    return names, tuple(0.25 if name.partition("/")[2] in HASHING else 1 for name in names)


@cache
def _mutations() -> tuple[tuple[str, ...], tuple[float, ...]]:
    return tuple(MUTATIONS), tuple(weight for _, weight in MUTATIONS.values())


def _request(rpc: str, rows: Rows, rng: Random, number: int) -> Any:
    """Return a request that is right, with an id and an address that no other has."""
    values = dict(rows.rpc(rpc).request)
    request: Any = json_format.ParseDict(values, message_factory.GetMessageClass(method_of(rpc).input_type)())
    if "request_id" in request.DESCRIPTOR.fields_by_name and rng.random() < 0.5:
        request.request_id = plausible.uuid_of(rng)
    if rpc.partition("/")[2] in {"CreateUser", "SignUp", "SignInWithAccount"}:
        request.email = f"case-{number}-{rng.randrange(10**6)}@example.com"
    return request
