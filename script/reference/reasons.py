"""The reasons of errors: the code of each, the keys of its metadata, and what a caller should do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ADVICE: Final = Path(__file__).with_name("advice.toml")
# "Any call. INVALID_ARGUMENT: …", "ABORTED, with RetryInfo: …".
BEGINNING: Final = re.compile(r"(?:[A-Z][a-z ]+\. )?([A-Z][A-Z_]+)(, with RetryInfo)?: ")
KEY: Final = re.compile(r"([a-z_]+) \(([^()]*)\)")
ROW: Final = re.compile(r"^\| ([A-Z_]+) \| [A-Z_]+ \| ([^|]+) \| ([^|]+) \|$", re.MULTILINE)
RPC: Final = re.compile(r"^\| (\w+)\.(\w+) \| (.+) \|$", re.MULTILINE)


class ReasonProblemError(Exception):
    """A reason's comment has not the form of the others, or nothing says what to do about it."""


@dataclass(frozen=True)
class Reason:
    """Why a call failed."""

    name: str
    code: str
    retry: bool
    comment: str
    # Key of ErrorInfo.metadata, and what it holds.
    keys: list[tuple[str, str]]
    advice: str


def read(told: list[tuple[str, str]], retries: str) -> list[Reason]:
    """Return the reasons, of which names and comments are given.

    ``retries``: text of docs/retries.md, which says of those that may be repeated how; of the others advice.toml says
    what to do. Raises ReasonProblemError.
    """
    repeats = {name: f"{_taken(effect)} Repeat it {how}." for name, effect, how in ROW.findall(retries)}
    advice: Mapping[str, str] = tomllib.loads(ADVICE.read_text())
    names = {name for name, _ in told}
    if wrong := (repeats.keys() & advice.keys()) | (names ^ (repeats.keys() | advice.keys())):
        raise ReasonProblemError(f"what to do must be said once, here or in docs/retries.md, of: {sorted(wrong)}")
    return [_reason(name, comment, {**repeats, **advice}[name]) for name, comment in told]


def repeats(retries: str) -> dict[str, str]:
    """Return what docs/retries.md says of repeating each RPC, by its key."""
    return {f"{service}/{name}": may for service, name, may in RPC.findall(retries)}


def _taken(effect: str) -> str:
    return {"no": "It has not taken effect.", "it may have": "It may have taken effect."}[effect]


def _reason(name: str, comment: str, advice: str) -> Reason:
    text, _, metadata = comment.partition("\n Metadata: ")
    begins = BEGINNING.match(" ".join(text.split()))
    if begins is None:
        raise ReasonProblemError(f"the comment of {name} does not begin with its code")
    keys = KEY.findall(" ".join(metadata.split()))
    if bool(metadata) != bool(keys):
        raise ReasonProblemError(f"the metadata of {name} cannot be read")
    return Reason(name, begins[1], begins[2] is not None, text, keys, advice)
